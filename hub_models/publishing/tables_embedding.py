"""Tables of the probabilistic embeddings' figures, from result files."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from ..evaluation.results import Result
from .markdown import cell, table

RECOVERY = {
    ("spearman", "concentration"): "concentration, Spearman",
    ("mae", "concentration"): "concentration, MAE",
    ("mae", "pairwise cosines"): "cosines of pairs, MAE",
}
RETRIEVAL = {
    ("r@1", ""): "R@1",
    ("map@r", ""): "mAP@R",
    ("r-auroc", "uncertainty"): "R-AUROC, 1 / concentration",
    ("r-auroc", "entropy"): "R-AUROC, entropy over classes",
    ("r-auroc", "max_cosine"): "R-AUROC, 1 - max cosine",
}


def recovery_table(results: Sequence[Result]) -> str:
    """One row a variant of the controlled experiment: mean over seeds, range, number of seeds."""
    rows = [["encoder", *RECOVERY.values(), "seeds"]]
    for model in dict.fromkeys(r.model for r in results):
        found = {key: _values(results, model, *key) for key in RECOVERY}
        seeds = str(len(next(iter(found.values()))))
        rows.append([model, *(_spread(values) for values in found.values()), seeds])
    return table(rows)


def retrieval_table(results: Sequence[Result], task: str) -> str:
    """One row a method and seed on one data set, with 95 % intervals."""
    rows = [["method", "seed", *RETRIEVAL.values()]]
    chosen = {(r.model, r.seed, r.metric, r.read_out): r for r in results if r.task == task}
    for model, seed in dict.fromkeys((model, seed) for model, seed, *_ in chosen):
        rows.append([model, str(seed), *(cell(chosen.get((model, seed, *key))) for key in RETRIEVAL)])
    return table(rows)


def _values(results: Iterable[Result], model: str, metric: str, read_out: str) -> list[float]:
    return [r.value for r in results if (r.model, r.metric, r.read_out) == (model, metric, read_out)]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]" if values else ""
