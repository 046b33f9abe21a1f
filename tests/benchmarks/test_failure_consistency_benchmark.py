from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_planted_contradictions_are_found_and_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = importlib.import_module("failure_consistency")
    for name, value in {"FAILURES": 230, "RELATIONS": 580, "PLANTED": 4}.items():
        monkeypatch.setattr(benchmark, name, value)
    report = benchmark.run(1)
    assert json.loads(benchmark.as_text(report)) == report
    (planted,) = report["planted"]
    assert (planted["found"], planted["false_alarms"]) == (4, 0)
    assert all(each["findings_left"] == 0 for each in report["repairs"])
    assert all(each["of_planted"] <= 1 for each in report["repairs"])
    assert report["jittered"][0]["certified_wrong"] == 0
    assert str(Path.home()) not in json.dumps(report)
