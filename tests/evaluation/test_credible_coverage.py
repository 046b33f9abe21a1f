from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from hub_models.evaluation import credible_coverage
from hub_models.evaluation.credible_coverage import (
    LEARNED,
    TASK,
    TRUE,
    best_rotation,
    coverage_results,
    sets_at,
)
from hub_models.modeling_vmf_encoder import VmfEncoderOutput
from hub_models.training.recipe_vmf_encoder import load_vmf_encoder_recipe
from hub_models.training.train_vmf_encoder import TrainedEncoder
from hub_models.training.vmf_generator import GeneratorRecipe, VmfGenerator, make_generator

COUNT, LEVELS = 500, (0.5, 0.9)
RECIPE = """\
name = "tiny"
task = "vmf-encoder"
summary = "Tiny."
licence = "apache-2.0"

[encoder]
embedding_dim = 2
widths = [4]
"""


class Oracle(torch.nn.Module):
    """An encoder that knows the process, but for a rotation and a factor on kappa."""

    def __init__(self, generator: VmfGenerator, factor: float = 1.0) -> None:
        super().__init__()
        self.generator, self.factor = generator, factor

    def forward(self, inputs: torch.Tensor) -> VmfEncoderOutput:
        mean, kappa = self.generator(inputs)
        return VmfEncoderOutput(mean_direction=mean @ turn(mean.shape[1]), concentration=self.factor * kappa)


def turn(dim: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(1)))[0]


@pytest.fixture(params=[2, 10])
def generator(request: pytest.FixtureRequest) -> VmfGenerator:
    dim = request.param
    return make_generator(GeneratorRecipe(input_dim=dim, latent_dim=dim, smoothing_steps=2), seed=0)


def found(
    encoder: torch.nn.Module, generator: VmfGenerator, tmp_path, monkeypatch
) -> dict[tuple[str, str], float]:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    monkeypatch.setattr(credible_coverage, "INPUTS", COUNT)
    monkeypatch.setattr(credible_coverage, "LEVELS", LEVELS)
    recipe = load_vmf_encoder_recipe(tmp_path / "recipe.toml")
    results = coverage_results(TrainedEncoder(encoder, generator), recipe, "test")
    assert all(result.task == TASK and result.n == COUNT for result in results)
    return {(result.metric, result.read_out): result.value for result in results}


def test_true_posteriors_keep_their_promise_and_so_does_an_encoder_that_found_them(
    generator, tmp_path, monkeypatch
):
    figures = found(Oracle(generator), generator, tmp_path, monkeypatch)
    for level in LEVELS:
        error = 4.5 * math.sqrt(level * (1 - level) / COUNT)
        assert figures[f"coverage at {level:.0%}", TRUE] == pytest.approx(level, abs=error)
        assert figures[f"coverage at {level:.0%}", LEARNED] == pytest.approx(
            figures[f"coverage at {level:.0%}", TRUE], abs=2 / COUNT
        )
    assert figures["set size at 50%", TRUE] < figures["set size at 90%", TRUE]


def test_an_encoder_that_is_too_sure_does_not(generator, tmp_path, monkeypatch):
    figures = found(Oracle(generator, factor=4.0), generator, tmp_path, monkeypatch)
    assert figures["coverage at 90%", LEARNED] < 0.8


def test_an_encoder_of_another_dimension_is_left_out(generator, tmp_path, monkeypatch):
    class Wider(Oracle):
        def forward(self, inputs: torch.Tensor) -> VmfEncoderOutput:
            output = super().forward(inputs)
            output.mean_direction = torch.nn.functional.pad(output.mean_direction, (0, 1))
            return output

    figures = found(Wider(generator), generator, tmp_path, monkeypatch)
    assert {what for _, what in figures} == {TRUE}


def test_the_best_rotation_undoes_a_rotation():
    rows = normalize(torch.randn(50, 6, generator=torch.Generator().manual_seed(0)), dim=-1)
    torch.testing.assert_close(
        (rows @ turn(6)).double() @ best_rotation(rows @ turn(6), rows), rows.double(), atol=1e-5, rtol=0
    )


def test_sets_hold_the_latents_in_their_caps():
    mean = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    latents = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    sets = sets_at(0.9, mean, torch.full((3,), 50.0), latents)
    assert sets.held.tolist() == [True, False, False]
    assert sets.size == pytest.approx([1 / 3] * 3)
