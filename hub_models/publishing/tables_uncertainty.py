"""Tables of the heads' figures, from result files."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from ..evaluation.results import Result
from .markdown import cell, table

DEFAULT_MODEL = "uncertainty-efficientnet-lite0"

#: Read-outs and baselines, in the order of the columns.
COLUMNS = {
    "error": "`error`",
    "transfer": "`transfer`",
    "uncertainty": "default",
    "expected_loss": "L2 head",
    "entropy": "entropy",
    "max_probability": "1 - max p",
    "energy": "energy",
    "feature_norm": "-norm",
}
#: Rows: (task, metric) -> how a person calls it.
FIGURES = {
    ("errors-photos@1", "auroc"): "mistakes, 500 CC BY photos (AUROC)",
    ("errors-ilsvrc@1", "auroc"): "mistakes, 500 ILSVRC photos (AUROC)",
    ("retrieval-cub@1", "r-auroc"): "retrieval, unseen CUB (R-AUROC)",
    ("retrieval-cars@1", "r-auroc"): "retrieval, unseen Cars (R-AUROC)",
    ("retrieval-mean@1", "r-auroc"): "mean of both",
    ("crop-cub@1", "share"): "crop more uncertain, CUB",
    ("cifar10h@1", "spearman"): "human disagreement, CIFAR-10H (Spearman)",
    ("real-votes@1", "spearman"): "rater disagreement, ReaL (Spearman)",
    ("ood-cub@1", "auroc"): "CUB against ImageNet (OOD AUROC)",
}


def read_outs_table(results: Sequence[Result], seed: int) -> str:
    """The default model: every figure under every read-out, with its 95 % interval."""
    figures = {
        (r.task, r.metric, r.read_out): r for r in results if r.seed == seed and r.model == DEFAULT_MODEL
    }
    rows = [["", *COLUMNS.values()]]
    for (task, metric), label in FIGURES.items():
        rows.append([label, *(cell(figures.get((task, metric, read_out))) for read_out in COLUMNS)])
    return table(rows)


def models_table(results: dict[str, list[Result]]) -> str:
    """Every model: the figure of the read-out that a task is for, of the released seed and over all seeds."""
    chosen = {
        ("errors-photos@1", "auroc", "error"): "mistakes on photos, `error`",
        ("errors-photos@1", "auroc-minus-entropy", "error"): "... minus entropy",
        ("retrieval-mean@1", "r-auroc", "transfer"): "R-AUROC CUB and Cars, `transfer`",
        ("retrieval-cub@1", "r-auroc-minus-entropy", "transfer"): "... on CUB, minus entropy",
        ("crop-cub@1", "share", "transfer"): "crop test CUB, `transfer`",
        ("cifar10h@1", "spearman", "transfer"): "CIFAR-10H, `transfer`",
    }
    rows = [["", *results]]
    for key, label in chosen.items():
        cells = []
        for model, lines in results.items():
            found = {r.seed: r for r in lines if (r.model, r.task, r.metric, r.read_out) == (model, *key)}
            values = [r.value for r in found.values()]
            spread = ""
            if len(values) > 1:
                spread = (
                    f"; {len(values)} seeds: {statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"
                )
            cells.append(cell(found.get(0)) + spread)
        rows.append([label, *cells])
    return table(rows)


def prior_table(results: Sequence[Result]) -> str:
    """Mistakes on the ten-class ILSVRC photos, trained with and without photos of these classes."""
    variants = {DEFAULT_MODEL: "with the ten classes", f"{DEFAULT_MODEL}-without-imagenette": "without"}
    columns = ("error", "transfer", "expected_loss", "entropy", "class_prior")
    figures = {
        (r.model, r.read_out): r
        for r in results
        if (r.task, r.metric, r.seed) == ("errors-ilsvrc@1", "auroc", 0)
    }
    names = [COLUMNS.get(name, "none of the ten") for name in columns]
    rows = [["mistakes, 500 ILSVRC photos (AUROC), trained", *names]]
    for model, label in variants.items():
        rows.append([label, *(cell(figures.get((model, name))) for name in columns)])
    return table(rows)


def cost_table(benchmark: dict[str, Any]) -> str:
    """Samples per second of head training, and how much faster the cache makes it, without and with its cost."""
    rows = [["training of the head", "samples/s", "the cache is faster by"]]
    for row in benchmark["rows"]:
        ratio = (
            ""
            if row["ratio"] is None
            else f"{row['ratio']:.1f}x ({row['ratio_low']:.1f} - {row['ratio_high']:.1f})"
        )
        rows.append([row["name"], f"{row['samples_per_second']:,.0f}", ratio])
    built = [["passes over the cache, building it counted in", "than forward passes", "than joint training"]]
    for row in benchmark["with_building"]:
        if not row["decoding"]:
            built.append([str(row["passes"]), f"{row['forward']:.1f}x", f"{row['joint']:.1f}x"])
    return f"{table(rows)}\n\n{table(built)}"


def conflict_table(lines: Sequence[dict[str, Any]]) -> str:
    """Accuracy and error-AUROC after the last epoch, mean and range over seeds, of each setting."""
    last = max(line["epoch"] for line in lines)
    settings: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        if line["epoch"] == last:
            weight = "with stop-gradient" if line["stop_gradient"] else f"without, λ = {line['lambda']:g}"
            settings.setdefault(weight, []).append(line)
    rows = [[f"after {last} epochs", "accuracy", "error-AUROC", "seeds"]]
    for setting, found in settings.items():
        columns = [[line[metric] for line in found] for metric in ("accuracy", "auroc")]
        cells = [f"{statistics.mean(c):.3f} [{min(c):.3f}, {max(c):.3f}]" for c in columns]
        rows.append([setting, *cells, str(len(found))])
    return table(rows)
