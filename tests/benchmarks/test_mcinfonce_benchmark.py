"""benchmarks/mcinfonce.py: every variant is a recipe, and figures are paired by seed."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from hub_models.evaluation.bootstrap import Interval
from hub_models.evaluation.recovery import TASK
from hub_models.evaluation.results import Result, Run
from hub_models.training.recipe_vmf_encoder import load_vmf_encoder_recipe

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("mcinfonce")


def result(model: str, seed: int, value: float, metric: str = "spearman") -> Result:
    return Run(model, "0", seed, "").result(TASK, metric, "concentration", Interval(value, value, value, 10))


def test_variants_are_recipes_that_share_what_they_do_not_change(benchmark: ModuleType):
    released = load_vmf_encoder_recipe(benchmark.FOLDER / benchmark.RECIPE)
    assert benchmark.variant(released, benchmark.MAIN) == released
    made = [benchmark.variant(released, name) for name in benchmark.VARIANTS]
    assert len({recipe.name for recipe in made}) == len(made)
    for name in benchmark.METHODS:
        method = benchmark.variant(released, name)
        assert method.generator == released.generator
        assert method.training.steps == 4608
        assert method.training.batch_size == 128


def test_every_seed_is_finished_before_the_next(benchmark: ModuleType):
    names = [benchmark.MAIN, "mcinfonce-2d-joint"]
    planned = list(benchmark.plan(names, 4))
    assert planned[:3] == [(names[0], 4), (names[1], 4), (names[0], 5)]
    assert [seed for name, seed in planned if name == names[0]] == [4, 5, 6, 7, 8]
    assert [seed for name, seed in planned if name == names[1]] == [4, 5]


def test_differences_are_paired_by_seed(benchmark: ModuleType):
    """Gaps 0.1, 0.2, 0.3: mean 0.2, standard error 0.0577, times 4.303 for two degrees of freedom."""
    ours = [result(benchmark.SMALL, seed, 0.9) for seed in (4, 5, 6, 7)]
    theirs = [result(f"{benchmark.MAIN}-elk", 4 + i, 0.8 - 0.1 * i) for i in range(3)]
    [line] = benchmark.paired([*ours, *theirs])
    assert line["against"] == f"{benchmark.MAIN}-elk"
    assert line["difference"] == pytest.approx(0.2)
    assert line["interval"] == pytest.approx([0.2 - 0.2484, 0.2 + 0.2484], abs=1e-3)
    assert (line["leads"], line["seeds"]) == (3, 3)


def test_the_summary_holds_means_and_ranges_of_what_was_measured(benchmark: ModuleType):
    [line] = benchmark.summary([result(benchmark.MAIN, 4, 0.8), result(benchmark.MAIN, 5, 0.9)])
    assert line["spearman, concentration"] == pytest.approx(0.85)
    assert line["spearman, concentration, range"] == [0.8, 0.9]
    assert line["seeds"] == 2
    assert "mae, concentration" not in line


def test_what_is_known_is_not_trained_again(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    trained = []
    recipe = benchmark.FOLDER / benchmark.RECIPE
    (tmp_path / benchmark.RECIPE).write_text(recipe.read_text())
    monkeypatch.setattr(benchmark, "FOLDER", tmp_path)
    monkeypatch.setattr(benchmark, "train", trained.append)
    monkeypatch.setattr(
        benchmark, "recovery_results", lambda model, recipe, command: [result(recipe.name, recipe.seed, 0.5)]
    )
    benchmark.run([benchmark.MAIN])
    benchmark.run([benchmark.MAIN])
    assert [line.seed for line in benchmark.read_results(tmp_path / benchmark.RESULTS)] == [4, 5, 6, 7, 8]
    assert len(trained) == 5
