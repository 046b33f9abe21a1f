"""Credible sets of a million vectors: how fast the cap search is, beside brute force, and that it misses nothing.

    python benchmarks/credible_retrieval.py [--quick] [--json]

A gallery of 1,000,000 unit vectors of 128 dimensions is made at run time: half in 2,000 clusters, half uniform on the
sphere. Queries are members of clusters with a narrow posterior (kappa 6,000), a wide one (kappa 2,000), and uniform
directions with a vague one (kappa 50). Level 0.95. Contenders give the same sets, ours sorted:

- NumPy: all cosines in float32, those above the edge.
- torch: the same.
- faiss, flat: a range search in IndexFlatIP.
- hub_models, exact: that with the edge decided in float64.
- hub_models, ivf: inverted lists, those that cannot reach the cap left out.

Contenders take turns query by query; medians of processor time of one thread and of ratios paired within queries, with
the 10 % and 90 % quantiles. Every set is compared with the one that float64 gives. Building the lists is reported
apart. Writes benchmarks/results/credible_retrieval.json, but for --quick. About four minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from report_files import provenance, run_as_command
from threadpoolctl import threadpool_limits

from hub_models.cli.options import print_table
from hub_models.credible_cap import cosine_quantile
from hub_models.retrieval import CapSearch, Index
from hub_models.retrieval.index import normalised

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "credible_retrieval.json"
DIM, CLUSTERS, SPREAD, LEVEL = 128, 2000, 0.01, 0.95
#: Kind of query, kappa.
QUERIES = (("narrow, in a cluster", 6000.0), ("wide, in a cluster", 2000.0), ("vague, anywhere", 50.0))
EXACT, LISTS = "hub_models, exact", "hub_models, ivf"
BRUTE = "NumPy"
CHUNK = 50_000
Find = Callable[[np.ndarray, float], np.ndarray]


def gallery(count: int, generator: np.random.Generator) -> np.ndarray:
    """Clusters of Gaussian spread around their centres, then uniform directions."""
    centres = normalised(generator.standard_normal((CLUSTERS, DIM)))
    rows = np.empty((count, DIM), dtype=np.float32)
    half = count // 2
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        noise = generator.standard_normal((stop - start, DIM), dtype=np.float32)
        inside = max(0, min(half, stop) - start)
        noise[:inside] = centres[generator.integers(0, CLUSTERS, inside)] + SPREAD * noise[:inside]
        rows[start:stop] = normalised(noise)
    return rows


def contenders(rows: np.ndarray, exact: CapSearch, lists: CapSearch) -> dict[str, Find]:
    tensor, flat = torch.from_numpy(rows), exact.index.faiss

    def by_numpy(query: np.ndarray, edge: float) -> np.ndarray:
        return np.flatnonzero(rows @ query >= np.float32(edge))

    def by_torch(query: np.ndarray, edge: float) -> np.ndarray:
        return (tensor @ torch.from_numpy(query) >= edge).nonzero().squeeze(1).numpy()

    def by_faiss(query: np.ndarray, edge: float) -> np.ndarray:
        return flat.range_search(query[None], edge)[2]

    return {
        BRUTE: by_numpy,
        "torch": by_torch,
        "faiss, flat": by_faiss,
        EXACT: lambda query, edge: exact.search(query, edge)[0],
        LISTS: lambda query, edge: lists.search(query, edge)[0],
    }


def truth(rows: np.ndarray, query: np.ndarray, edge: float) -> np.ndarray:
    """By float64, in chunks."""
    parts = [rows[start : start + CHUNK].astype(np.float64) for start in range(0, len(rows), CHUNK)]
    unit = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    return np.flatnonzero(
        np.concatenate([part @ unit / np.linalg.norm(part, axis=1) for part in parts]) >= edge
    )


def measure(
    finders: dict[str, Find], rows: np.ndarray, kind: str, kappa: float, count: int
) -> list[dict[str, Any]]:
    """Lines of one kind of query."""
    generator = np.random.default_rng(1)
    edge = float(cosine_quantile(torch.tensor(kappa, dtype=torch.float64), DIM, LEVEL))
    if kind.endswith("cluster"):
        queries = rows[generator.integers(0, len(rows) // 2, count)]
    else:
        queries = normalised(generator.standard_normal((count, DIM)))
    seconds: dict[str, list[float]] = {name: [] for name in finders}
    wrong = dict.fromkeys(finders, 0)
    sizes = []
    names = list(finders)
    for number, query in enumerate(queries):
        right = truth(rows, query, edge)
        sizes.append(len(right))
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.thread_time()
            found = finders[name](query, edge)
            seconds[name].append(time.thread_time() - start)
            wrong[name] += len(np.setxor1d(found, right))
    lines = []
    brute = np.array(seconds[BRUTE])
    for name, values in seconds.items():
        ratio = brute / np.array(values)
        figures = (np.median(values), np.median(ratio), *np.quantile(ratio, [0.1, 0.9]))
        keys = ("seconds_each", "ratio", "ratio_low", "ratio_high")
        lines.append(
            {"queries": kind, "kappa": kappa, "median_set": float(np.median(sizes)), "name": name}
            | {key: float(f"{value:.4g}") for key, value in zip(keys, figures, strict=True)}
            | {"wrong_items": wrong[name]}
        )
    return lines


def run(quick: bool) -> dict[str, Any]:
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    with threadpool_limits(1):
        rows = gallery(20_000 if quick else 1_000_000, np.random.default_rng(0))
        exact = CapSearch(Index(rows))
        start = time.thread_time()
        index = Index(rows, "ivf")
        built = time.thread_time()
        lists = CapSearch(index)
        bounded = time.thread_time()
        finders = contenders(rows, exact, lists)
        lines = [
            line
            for kind, kappa in QUERIES
            for line in measure(finders, rows, kind, kappa, 3 if quick else 21)
        ]
    return {
        **provenance("python benchmarks/credible_retrieval.py", "faiss-cpu", "numpy", "torch"),
        "vectors": len(rows),
        "dim": DIM,
        "level": LEVEL,
        "lists": index.faiss.nlist,
        "seconds_to_build_lists": round(built - start, 1),
        "seconds_to_bound_lists": round(bounded - built, 2),
        "searches": lines,
    }


def print_report(report: dict[str, Any]) -> None:
    rows = [
        {
            "queries": f"{line['queries']}, kappa {line['kappa']:g}",
            "items": f"{line['median_set']:.0f}",
            "by": line["name"],
            "ms/query": f"{1e3 * line['seconds_each']:.3g}",
            "times as fast as NumPy": "{ratio:.3g}x ({ratio_low:.3g} - {ratio_high:.3g})".format(**line),
            "wrong items": line["wrong_items"],
        }
        for line in report["searches"]
    ]
    print_table(rows, title=f"Credible sets of {report['vectors']:,} vectors, {report['machine']}")
    print(
        f"{report['lists']:,} lists, built in {report['seconds_to_build_lists']} s, "
        f"bounded in {report['seconds_to_bound_lists']} s"
    )


if __name__ == "__main__":
    run_as_command(__doc__, run, print_report, RESULTS)
