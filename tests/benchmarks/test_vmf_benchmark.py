"""benchmarks/vmf.py runs, at a size that says nothing about speed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_every_contender_is_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = importlib.import_module("vmf")
    threads = torch.get_num_threads()
    try:
        report = benchmark.run(quick=True)
    finally:
        torch.set_num_threads(threads)
    assert json.loads(importlib.import_module("report_files").as_text(report)) == report
    names = {line["name"] for line in report["draws"] if not line["gradients"]}
    assert names >= {benchmark.OURS, benchmark.PROJECTED, benchmark.HOUSEHOLDER, "scipy"}
    assert all(line["log_c_64"] < 1e-6 and line["log_c_32"] < 1e-4 for line in report["accuracy"])


def test_contenders_draw_unit_vectors_with_the_right_mean(monkeypatch: pytest.MonkeyPatch):
    """A wrong contender would be no contender."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    contenders = importlib.import_module("vmf_contenders")
    torch.manual_seed(0)
    mean = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1)
    kappa = torch.full((4,), 12.0)
    for scheme in (contenders.wood_projected, contenders.wood_householder, contenders.scipy_rows):
        draws = torch.as_tensor(scheme(mean, kappa, 2000)).float()
        assert (draws.norm(dim=-1) - 1).abs().max() < 1e-4
        assert (draws * mean).sum(dim=-1).mean().item() == pytest.approx(
            0.741, abs=0.01
        )  # A_8(12), the sheet
