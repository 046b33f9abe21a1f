"""Exact search of a shield: what a step costs, and that nothing inside is ever missed.

    python benchmarks/reference_search.py [--small] [--folder FOLDER] [--part build|steps|disk|exactness] [--json]

1,281,167 references of 4,096 dimensions (`reference_search_data.py` says which) are written to FOLDER, 12 GB with
their index, and stay there for the next run; delete it when done. Then, in batches of 8:

- build: seconds and bytes, of the references and of the index;
- steps: the cost of each of 50 steps, at rho 0.3, 0.35 and 0.4 (rho: radius over the median distance of two
  references), under two noise schedules. Means are over the steps with fewer than 1,000 pairs truly inside; the others
  stream, and stand beside (after more than 5,000 pairs inside, steps are skipped up to the next multiple of four);
- disk: 1,000 scattered rows from a cold disk, beside a memory map; everything inside, in bounded memory;
- exactness: every pair inside against brute force over all references (a float32 product, float64 differences where
  its rounding leaves doubt), for more than 1,000 queries and four radii, borderline queries at r (1 +- 1e-6),
  duplicates, zero vectors and the extremes of fp16 among them.

`--small` takes 50,000 references and writes no results. Threads: OMP_NUM_THREADS. Results go to
benchmarks/results/reference_search.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reference_search_data import SPECIAL, STEPS, Latents, borderline, flow, karras, trajectory
from report_files import as_text, provenance

from hub_models.atomic import write_text
from hub_models.cli.options import print_json, print_table
from hub_models.paths import cache_dir
from hub_models.spell import spell_references
from hub_models.spell.spell_protected import InsidePairs
from hub_models.spell.spell_references import ReferenceSet

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "reference_search.json"
ROWS, SMALL_ROWS = 1_281_167, 50_000
RHOS = (0.3, 0.35, 0.4)
EXACT_RHOS = (0.2, 0.3, 0.35, 0.4)
MARGIN = 1e-3  # of |q|^2 + |z|^2: more than a float32 product of 4,096 terms can be wrong by, in any order
FEW = 1000  # pairs truly inside, up to which a step counts
SCHEDULES: dict[str, Callable[[], torch.Tensor]] = {"EDM": karras, "flow": flow}


def build(references: Path, rows: int) -> dict[str, Any]:
    """Make the set and its index where they are missing, and say what it took."""
    note = references / "benchmark-build.json"
    if note.is_file():
        return json.loads(note.read_text())
    start = time.perf_counter()
    built = ReferenceSet.build(latents=Latents(rows), folder=references)
    written = time.perf_counter()
    built.prepare()
    indexed = time.perf_counter()
    size = sum(path.stat().st_size for path in references.iterdir())
    figures = {
        "rows": rows,
        "dimension": Latents(rows).dimension,
        "seconds_rows": written - start,  # making the synthetic rows included
        "seconds_index": indexed - written,
        "bytes_on_disk": size,
        "bytes_index": built._searchable.bytes,
    }
    write_text(note, json.dumps(figures))
    return figures


def steps(references: ReferenceSet, latents: Latents) -> Iterator[dict[str, Any]]:
    """Milliseconds of each step along trajectories."""
    stored = references.rows(range(SPECIAL, SPECIAL + 512)).flatten(1)
    typical = references.typical_distance()
    references.prepare()
    search = references.search()
    for warm in trajectory(latents, stored, karras(), seed=99)[-8:]:  # compile, fault pages in
        _consume(search.within(warm, 0.4 * typical))
    for schedule, sigmas in SCHEDULES.items():
        queries = trajectory(latents, stored, sigmas(), seed=1)
        for rho in RHOS:
            search = references.search()
            _reset_peak()
            cost, inside = [], []
            for step in range(STEPS):
                if inside and inside[-1] > 5 * FEW and step % 4:
                    continue
                start = time.perf_counter()
                inside.append(_consume(search.within(queries[step], rho * typical)))
                cost.append(1000 * (time.perf_counter() - start))
            counted = [ms for ms, pairs in zip(cost, inside, strict=True) if pairs < FEW]
            streamed = [ms for ms, pairs in zip(cost, inside, strict=True) if pairs >= FEW]
            yield {
                "schedule": schedule,
                "rho": rho,
                "steps": len(counted),
                "mean_ms": _mean(counted),
                "max_ms": max(counted, default=None),
                "mean_inside": _mean([pairs for pairs in inside if pairs < FEW]),
                "streamed_steps": len(streamed),
                "streamed_mean_ms": _mean(streamed),
                "streamed_max_inside": max(inside),
                "peak_memory_gb": _peak_gb(),
                "each_ms": [round(ms, 1) for ms in cost],
            }


def disk(references: ReferenceSet, latents: Latents) -> dict[str, Any]:
    """1,000 scattered rows from a cold disk, and everything inside at once."""
    generator = np.random.default_rng(0)
    reader = references._reader
    shards = sorted(references.folder.glob("shard-*[0-9].safetensors"))
    columns = latents.dimension
    timings: dict[str, list[float]] = {"preadv": [], "memory_map": []}
    for _ in range(3):
        rows = np.sort(generator.choice(len(reader), 1000, replace=False))
        _forget_cached(shards)
        start = time.perf_counter()
        read = reader.read(rows)
        timings["preadv"].append(time.perf_counter() - start)
        _forget_cached(shards)
        maps = [np.memmap(path, np.float16, "r", 4096).reshape(-1, columns) for path in shards]
        shard = np.searchsorted(reader.starts, rows, side="right") - 1
        start = time.perf_counter()
        same = np.concatenate([m[rows[shard == s] - reader.starts[s]] for s, m in enumerate(maps)])
        timings["memory_map"].append(time.perf_counter() - start)
        assert (read.view(np.uint16) == same.view(np.uint16)).all()
        del maps
    query = latents.pixels(latents.fresh(1, torch.Generator().manual_seed(5))).flatten(1)
    references.prepare()
    _reset_peak()
    before = _status_gb("VmRSS")
    start = time.perf_counter()
    pairs = _consume(references.search().within(query, 1e9))
    return {
        "cold_1000_rows_ms": 1000 * float(np.median(timings["preadv"])),
        "cold_1000_rows_memory_map_ms": 1000 * float(np.median(timings["memory_map"])),
        "all_inside_pairs": pairs,
        "all_inside_seconds": time.perf_counter() - start,
        "all_inside_extra_memory_gb": _peak_gb() - before,
    }


def exactness(references: ReferenceSet, latents: Latents) -> dict[str, Any]:
    """Every pair inside, against brute force."""
    stored = references.rows(range(SPECIAL, SPECIAL + 512)).flatten(1)
    special = references.rows(range(SPECIAL)).flatten(1)
    radii = [rho * references.typical_distance() for rho in EXACT_RHOS]
    runs = [trajectory(latents, stored, make(), seed) for seed in (2, 3) for make in SCHEDULES.values()]
    # Steps in order, so that anchors are at work; few of the early ones, where most references are inside.
    groups = [batch for run in runs for batch in (*run[:18:9], *run[18:])]
    edge = torch.cat([borderline(stored[i * 16 : i * 16 + 16], radius, i) for i, radius in enumerate(radii)])
    planted = torch.cat([special[::4], special[::4] + 1e-3])
    groups += list(torch.cat([edge, planted]).split(8))
    groups += list(latents.pixels(latents.fresh(8, torch.Generator().manual_seed(9))).flatten(1).split(8))
    queries = torch.cat(groups)
    start = time.perf_counter()
    truth = _brute_force(references, queries, radii)
    brute_seconds = time.perf_counter() - start
    missed = extra = total = 0
    start = time.perf_counter()
    for radius, true in zip(radii, truth, strict=True):
        search = references.search()
        found = []
        for number, group in enumerate(groups):
            offset = sum(len(g) for g in groups[:number])
            for pairs in search.within(group, radius):
                found.append((pairs.query + offset) * len(references._reader) + pairs.reference)
        ours = torch.cat(found).numpy() if found else np.empty(0, np.int64)
        assert len(np.unique(ours)) == len(ours)
        missed += len(np.setdiff1d(true, ours))
        extra += len(np.setdiff1d(ours, true))
        total += len(true)
    return {
        "queries": len(queries),
        "radii_rho": EXACT_RHOS,
        "pairs_inside": total,
        "missed": missed,
        "extra": extra,
        "seconds_brute_force": brute_seconds,
        "seconds_search": time.perf_counter() - start,
    }


def _brute_force(references: ReferenceSet, queries: torch.Tensor, radii: list[float]) -> list[np.ndarray]:
    """For each radius the pairs inside, coded as query * rows + row."""
    reader = references._reader
    exact_queries, single = queries.double(), queries.float()
    norms = single.square().sum(1)[:, None]
    inside: list[list[torch.Tensor]] = [[] for _ in radii]
    for first in range(0, len(reader), 2048):
        rows = torch.from_numpy(reader.read(np.arange(first, min(first + 2048, len(reader))))).float()
        sizes = norms + rows.square().sum(1)
        squared = torch.addmm(sizes, single, rows.T, alpha=-2)
        query, row = (squared.sub_(sizes, alpha=MARGIN) <= max(radii) ** 2).nonzero(as_tuple=True)
        near, margin = squared[query, row].double(), 2 * MARGIN * sizes[query, row].double()
        for found, radius in zip(inside, radii, strict=True):
            sure = near + margin <= radius**2
            open_pairs = ((near <= radius**2) & ~sure).nonzero().flatten()
            for some in open_pairs.split(1024):
                difference = exact_queries[query[some]] - rows[row[some]].double()
                sure[some] = difference.norm(dim=1) <= radius
            found.append(query[sure] * len(reader) + first + row[sure])
    return [torch.cat(found).numpy() for found in inside]


def _consume(pairs: Iterator[InsidePairs]) -> int:
    return sum(len(some.query) for some in pairs)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _forget_cached(paths: list[Path]) -> None:
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_gb() -> float:
    return _status_gb("VmHWM")


def _status_gb(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="50,000 references; writes no results")
    parser.add_argument("--folder", type=Path, default=cache_dir() / "reference-search")
    parts = ("build", "steps", "disk", "exactness")
    parser.add_argument("--part", choices=parts, action="append", help="by default all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    if arguments.small:
        spell_references.SMALL_BYTES = 0  # else 50,000 would be searched without an index
    rows = SMALL_ROWS if arguments.small else ROWS
    folder = arguments.folder / str(rows)
    figures: dict[str, Any] = {"build": build(folder, rows)}
    opened, latents = ReferenceSet.open(folder), Latents(rows)
    chosen = arguments.part or parts
    if "steps" in chosen:
        figures["steps"] = list(steps(opened, latents))
    if "disk" in chosen:
        figures["disk"] = disk(opened, latents)
    if "exactness" in chosen:
        figures["exactness"] = exactness(opened, latents)
    report = provenance("python benchmarks/reference_search.py", "torch", "numpy", "numba")
    if arguments.json:
        print_json(report | figures)
    else:
        print_report(figures)
    if not arguments.small:
        known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        write_text(RESULTS, as_text(known | report | figures))
        print(f"wrote {RESULTS.relative_to(ROOT)}", file=sys.stderr)


def print_report(figures: dict[str, Any]) -> None:
    for part in ("build", "disk", "exactness"):
        if part in figures:
            print_table([{"": key, part: _shown(value)} for key, value in figures[part].items()], title=part)
    if "steps" in figures:
        lines = [
            {key: _shown(value) for key, value in line.items() if key != "each_ms"}
            for line in figures["steps"]
        ]
        print_table(lines, title="a step of a batch of 8")


def _shown(value: Any) -> str:
    return (
        f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


if __name__ == "__main__":
    main()
