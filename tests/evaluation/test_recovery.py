from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hub_models.configuration_vmf_encoder import VmfEncoderConfig
from hub_models.evaluation.recovery import (
    TASK,
    mean_absolute_error,
    pairwise_cosine_error,
    pearson,
    recovery_figures,
)
from hub_models.evaluation.suites import run_suite
from hub_models.modeling_vmf_encoder import VmfEncoderModel
from hub_models.training.train_vmf_encoder import TrainedEncoder, train_vmf_encoder
from hub_models.training.vmf_generator import GeneratorRecipe, VmfGenerator

RECIPE = """
name = "tiny-encoder"
task = "vmf-encoder"
summary = "tiny"
licence = "apache-2.0"
seed = 3
[generator]
smoothing_steps = 60
[encoder]
embedding_dim = 2
widths = [6]
[training]
batch_size = 8
samples = 4
direction_steps = 1
concentration_steps = 1
"""


def unit(count: int, dim: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def perfect(posterior: str = "vmf") -> TrainedEncoder:
    """An encoder that is the process itself."""
    torch.manual_seed(0)
    process = VmfGenerator(GeneratorRecipe(posterior=posterior))
    model = VmfEncoderModel(VmfEncoderConfig())
    model.direction, model.log_concentration = process.direction, process.log_concentration
    model.config.log_concentration_scale, process.scale = 1.5, torch.tensor(1.5)
    model.config.log_concentration_shift, process.shift = 2.0, torch.tensor(2.0)
    return TrainedEncoder(model.eval(), process)


def test_pairwise_cosines_by_a_double_loop_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hub_models.evaluation.recovery._BLOCK", 4)
    left, right = unit(11, 2), unit(11, 5, seed=1)
    pairs = [(i, j) for i in range(11) for j in range(11) if i != j]
    by_hand = np.mean([abs(left[i] @ left[j] - right[i] @ right[j]) for i, j in pairs])
    figure = pairwise_cosine_error(left, right)
    assert figure.value == pytest.approx(by_hand)
    assert figure.low < figure.value < figure.high
    assert figure.n == 11


def test_a_rotation_is_no_error():
    left = unit(30, 3)
    figure = pairwise_cosine_error(left, left @ Rotation.random(random_state=0).as_matrix())
    assert figure.value == pytest.approx(0, abs=1e-12)


def test_the_interval_of_pairs_covers_the_truth_as_often_as_it_says():
    """Against the error of very many items."""
    noise = np.random.default_rng(5).normal(scale=0.3, size=(4000, 3))
    left = unit(4000, 3)
    right = left + noise
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    truth = pairwise_cosine_error(left, right).value
    parts = [pairwise_cosine_error(left[i : i + 100], right[i : i + 100]) for i in range(0, 4000, 100)]
    assert 0.8 <= np.mean([part.low <= truth <= part.high for part in parts]) <= 1.0


def test_simple_errors():
    left, right = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 1.0])
    assert mean_absolute_error(left, right) == pytest.approx(4 / 3)
    assert pearson(left, 3 - 2 * left) == pytest.approx(-1)
    assert np.isnan(pearson(left, np.ones(3)))


def test_the_process_itself_recovers_everything():
    figures = recovery_figures(perfect(), seed=1, inputs=200)
    assert figures["spearman", "concentration"].value == pytest.approx(1)
    assert figures["pearson", "concentration"].value == pytest.approx(1)
    assert figures["mae", "concentration"].value == pytest.approx(0, abs=1e-4)
    assert figures["mae", "pairwise cosines"].value == pytest.approx(0, abs=1e-5)


def test_a_doubled_concentration_keeps_ranks_and_shows_in_the_error():
    trained = perfect()
    trained.model.config.log_concentration_shift += np.log(2.0)
    figures = recovery_figures(trained, seed=1, inputs=200)
    assert figures["spearman", "concentration"].value == pytest.approx(1)
    kappa = trained.generator(trained.generator.inputs(200, torch.Generator().manual_seed(2**31 + 1)))[1]
    assert figures["mae", "concentration"].value == pytest.approx(kappa.mean().item(), rel=1e-4)


def test_without_true_ambiguity_only_directions_are_compared():
    assert set(recovery_figures(perfect("injective"), seed=1, inputs=50)) == {("mae", "pairwise cosines")}


def test_the_suite_gives_the_released_encoder_then_other_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("hub_models.evaluation.recovery.INPUTS", 100)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    train_vmf_encoder(recipe, tmp_path / "tiny-encoder", show_progress=False)
    released, other = run_suite("recovery", tmp_path / "tiny-encoder", 2, "command")
    assert [figures[0].seed for figures in (released, other)] == [3, 4]
    assert released[0].revision != other[0].revision
    for figures in (released, other):
        assert {figure.task for figure in figures} == {TASK}
        assert {(figure.metric, figure.read_out) for figure in figures} == {
            ("spearman", "concentration"),
            ("pearson", "concentration"),
            ("mae", "concentration"),
            ("mae", "pairwise cosines"),
        }
