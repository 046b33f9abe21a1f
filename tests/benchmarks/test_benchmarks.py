"""The benchmarks run, at a size that says nothing about speed or accuracy."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from hub_models.paths import data_dir
from hub_models.publishing.tables_uncertainty import conflict_table, cost_table

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if request.param == "feature_cache":
        pytest.importorskip("h5py", reason="h5py is not installed")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["feature_cache"], indirect=True)
def test_the_cache_is_measured_against_all_contenders(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(benchmark, "BATCH", 16)
    monkeypatch.setattr(benchmark.contenders, "BATCH", 16)
    monkeypatch.setattr(benchmark, "MICRO_BATCHES", (8, 16))
    report = benchmark.run(benchmark.Size(images=4, views=8, rounds=2))
    assert json.loads(importlib.import_module("report_files").as_text(report)) == report
    assert [row["name"] for row in report["rows"]][:3] == [
        benchmark.CACHED,
        benchmark.FORWARD,
        benchmark.JOINT,
    ]
    assert all(0 < row["low"] <= row["samples_per_second"] <= row["high"] for row in report["rows"])
    assert {line["passes"] for line in report["with_building"]} == set(benchmark.PASSES)
    assert str(Path.home()) not in json.dumps(report)
    assert benchmark.JOINT in cost_table(report)


@pytest.mark.parametrize("benchmark", ["feature_cache"], indirect=True)
def test_the_gain_with_building_is_what_a_clock_would_show(benchmark: ModuleType):
    seconds = {benchmark.CACHED: 0.5, benchmark.FORWARD: 8.0, benchmark.JOINT: 40.0}
    seconds |= {benchmark.CACHE_PASS: 10.0, benchmark.DECODING: 2.0}
    rates = {name: [1 / value] * 3 for name, value in seconds.items()}
    lines = {(r["passes"], r["decoding"]): r for r in benchmark.with_building(rates, building=1 / 13)}
    assert lines[6, False]["forward"] == pytest.approx(6 * 8 / (10 + 6 * 0.5), rel=1e-3)
    assert lines[6, True]["forward"] == pytest.approx(6 * (8 + 2) / (13 + 6 * 0.5), rel=1e-3)
    assert lines[100, True]["joint"] == pytest.approx(100 * 42 / (13 + 50), rel=1e-3)


@pytest.mark.parametrize("benchmark", ["feature_cache"], indirect=True)
def test_ratios_are_paired_within_rounds(benchmark: ModuleType):
    row = benchmark.row("slow", [1.0, 2.0, 10.0], [10.0, 10.0, 10.0])
    assert (row["samples_per_second"], row["low"], row["high"]) == (2, 1, 10)
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == (5, 1, 10)
    assert benchmark.row("reference", [1.0])["ratio"] is None


def random_images(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator), torch.arange(
        count
    ) % 10


@pytest.mark.parametrize("benchmark", ["gradient_conflict"], indirect=True)
def test_a_run_that_was_cut_off_goes_on_and_ends_the_same(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(benchmark, "SETTINGS", benchmark.SETTINGS[:2])
    train, held_out = random_images(128, 0), random_images(40, 1)
    whole = benchmark.run(tmp_path / "whole.jsonl", train, held_out, seeds=(0,), epochs=2)
    assert [(r["stop_gradient"], r["lambda"], r["epoch"]) for r in whole] == [
        (True, 1.0, 1),
        (True, 1.0, 2),
        (False, 1.0, 1),
        (False, 1.0, 2),
    ]
    cut = (tmp_path / "whole.jsonl").read_text().splitlines()[:3]
    (tmp_path / "cut.jsonl").write_text("\n".join(cut) + "\n")
    assert benchmark.run(tmp_path / "cut.jsonl", train, held_out, seeds=(0,), epochs=2) == whole
    assert (tmp_path / "cut.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()


@pytest.mark.parametrize("benchmark", ["gradient_conflict"], indirect=True)
def test_the_committed_lines_are_complete(benchmark: ModuleType):
    lines = [json.loads(line) for line in benchmark.RESULTS.read_text().splitlines()]
    found = sorted((r["seed"], r["stop_gradient"], r["lambda"], r["epoch"]) for r in lines)
    assert found == sorted(
        (seed, *setting, epoch)
        for seed in benchmark.SEEDS
        for setting in benchmark.SETTINGS
        for epoch in range(1, benchmark.EPOCHS + 1)
    )
    assert {(r["model"], r["n"], r["command"]) for r in lines} == {
        (benchmark.MODEL, 10 * benchmark.HELD_OUT, benchmark.COMMAND)
    }
    assert len(conflict_table(lines).splitlines()) == 2 + len(benchmark.SETTINGS)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("benchmark", ["gradient_conflict"], indirect=True)
def test_the_gradient_conflict_runs_on_cifar(benchmark: ModuleType, tmp_path: Path):
    folder = data_dir()
    assert folder is not None
    archive = folder / "cifar10_jpeg.tar.gz"
    train, held_out = benchmark.load_cifar(archive, 0, 100), benchmark.load_cifar(archive, 100, 20)
    assert train[0].shape == (1000, 3, 32, 32)
    assert held_out[1].bincount().tolist() == [20] * 10
    everything = {image.numpy().tobytes() for image in train[0]}
    assert not everything & {image.numpy().tobytes() for image in held_out[0]}
    lines = benchmark.run(tmp_path / "lines.jsonl", train, held_out, seeds=(0,), epochs=3)
    last = [line for line in lines if line["epoch"] == 3]
    assert len(last) == len(benchmark.SETTINGS)
    assert max(line["accuracy"] for line in last) > 0.15  # chance is 0.1
    benchmark.draw(lines, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
