from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hub_models.errors import EvaluationError
from hub_models.evaluation.bootstrap import Interval
from hub_models.evaluation.results import Run, read_results, write_results

RUN = Run(model="m", revision="abc", seed=0, command="hub-models evaluate m")


def test_results_come_back_as_written_sorted(tmp_path: Path) -> None:
    results = [RUN.result(task, "auroc", "error", Interval(0.5, 0.4, 0.6, 10)) for task in ("b@1", "a@1")]
    write_results(tmp_path / "results.jsonl", results)
    assert read_results(tmp_path / "results.jsonl") == results[::-1]
    assert results[0].versions["torch"]


def test_a_new_run_replaces_its_own_figures_and_keeps_others(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write_results(path, [RUN.result("a@1", "auroc", name, Interval(0.5, 0.4, 0.6, 10)) for name in "xy"])
    write_results(path, [RUN.result("a@1", "auroc", "x", Interval(0.7, 0.6, 0.8, 10))])
    other_seed = dataclasses.replace(RUN, seed=1)
    write_results(path, [other_seed.result("a@1", "auroc", "x", Interval(0.9, 0.8, 1.0, 10))])
    assert [(r.read_out, r.seed, r.value) for r in read_results(path)] == [
        ("x", 0, 0.7),
        ("x", 1, 0.9),
        ("y", 0, 0.5),
    ]


def test_a_line_that_is_no_result_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write_results(path, [RUN.result("a@1", "auroc", "x", Interval(0.5, 0.4, 0.6, 10))])
    path.write_text(path.read_text() + '{"model": "m"}\n')
    with pytest.raises(EvaluationError, match="line 2"):
        read_results(path)


def test_no_file_no_results(tmp_path: Path) -> None:
    assert read_results(tmp_path / "none.jsonl") == []
