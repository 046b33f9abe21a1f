from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from hub_models.errors import RecipeError
from hub_models.evaluation.cifar10h import LEVELS, TASK, EmbeddedFold, cifar10h, coverage, figures
from hub_models.evaluation.results import Run
from hub_models.evaluation.suites import run_suite
from hub_models.training.soft_label_positives import draw_partners
from hub_models.training.train_soft_labels import train_soft_label_embedding
from hub_models.von_mises_fisher import sample

from ..training.voted_images import write_soft_label_recipe, write_votes

RUN = Run(model="tiny", revision="0", seed=0, command="test")


def fold(count: int = 120) -> EmbeddedFold:
    """Three classes; the surer people are, the more concentrated and the nearer to its class an image is."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    surest = 0.5 + 0.5 * torch.rand(count, generator=generator, dtype=torch.float64)
    shares = torch.full((count, 3), 0.0, dtype=torch.float64) + ((1 - surest) / 2).unsqueeze(1)
    shares[torch.arange(count), labels] = surest
    kappa = 400 * (surest - 0.45)
    centres = normalize(torch.randn(3, 4, generator=generator, dtype=torch.float64), dim=-1)
    directions = sample(centres[labels], kappa, 1, generator)[0]
    return EmbeddedFold(directions.numpy(), kappa.numpy(), shares.numpy(), labels.numpy())


def test_entropy_is_that_of_the_votes():
    images = EmbeddedFold(np.eye(2), np.ones(2), np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0, 1]))
    np.testing.assert_allclose(images.entropy, [0, np.log(2)])


def test_figures_of_a_perfect_concentration():
    found = {result.metric: result for result in figures(fold(), RUN)}
    assert found["spearman"].value == pytest.approx(1)
    assert found["r@1 without 50%"].value >= found["r@1"].value
    assert found["r@1 without 50%"].n == 60
    assert all(result.task == TASK and result.low <= result.value <= result.high for result in found.values())
    assert found["spearman of set size at 95%"].value > 0.5


def test_coverage_and_set_sizes_are_those_of_brute_force():
    images = fold(40)
    partners = draw_partners(images.shares, np.random.default_rng(0))
    found = {result.metric: result.value for result in coverage(images, RUN)}
    draws = sample(
        torch.from_numpy(images.directions), torch.from_numpy(images.concentrations), 20_000
    ).numpy()
    cosines = images.directions @ images.directions.T
    for level in LEVELS:
        own = np.einsum("nrd,rd->nr", draws, images.directions)
        edges = np.quantile(own, 1 - level, axis=0)  # the region's edge by Monte Carlo
        inside = cosines >= edges[:, None]
        held = inside[np.arange(40), partners].mean()
        np.fill_diagonal(inside, False)
        assert found[f"coverage at {level:.0%}"] == pytest.approx(held, abs=0.05)
        assert found[f"set size at {level:.0%}"] == pytest.approx(inside.mean() * 40 / 39, abs=0.02)
    assert list(found.values()) == [result.value for result in coverage(images, RUN)]


def test_the_suite_measures_a_checkpoint_of_soft_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "cache"))
    write_votes(tmp_path / "cache", count=60)
    path = write_soft_label_recipe(tmp_path)
    train_soft_label_embedding(path, tmp_path / "checkpoint")
    first, second = run_suite("cifar10h", tmp_path / "checkpoint", 2, "test")
    only_once = {result.metric for result in first} ^ {result.metric for result in second}
    assert all(
        metric.startswith("spearman of set size") for metric in only_once
    )  # none where sizes are all alike
    assert {result.seed for result in first} == {0}
    assert {result.seed for result in second} == {1}
    by_metric = {result.metric: result for result in first}
    assert by_metric["spearman"].n == by_metric["spearman with crop side"].n == 12
    assert first[0].revision != second[0].revision


def test_a_checkpoint_without_soft_labels_is_refused(tmp_path: Path):
    path = write_soft_label_recipe(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").split("[soft_labels]")[0], encoding="utf-8")
    with pytest.raises(RecipeError, match="'images' is missing in soft_labels"):
        list(cifar10h(tmp_path, 1, "test"))
