"""benchmarks/credible_retrieval.py runs, at a size that says nothing about speed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import faiss
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_ours_find_what_float64_finds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = importlib.import_module("credible_retrieval")
    threads = torch.get_num_threads(), faiss.omp_get_max_threads()
    try:
        report = benchmark.run(quick=True)
    finally:
        torch.set_num_threads(threads[0])
        faiss.omp_set_num_threads(threads[1])
    assert json.loads(importlib.import_module("report_files").as_text(report)) == report
    ours = [line for line in report["searches"] if line["name"] in (benchmark.EXACT, benchmark.LISTS)]
    assert len(ours) == 6
    assert all(line["wrong_items"] == 0 for line in ours)
