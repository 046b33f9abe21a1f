"""Pictures of the demo: photos ranked by uncertainty, and queries with what was found or withheld."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from .image_sources import ImageSource, read_source_image
from .prediction import Prediction
from .retrieval.abstention import Neighbours

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COLUMNS, ROWS = 8, 4
GREEN, RED, GREY = "#1b7837", "#b2182b", "#555555"


def ranking_picture(predictions: list[Prediction], source: ImageSource, path: Path) -> None:
    """Images evenly spread over the ranking, from the most certain to the least, each with its percentile."""
    ranked = sorted(predictions, key=lambda p: p.uncertainty)
    chosen = [ranked[i] for i in np.linspace(0, len(ranked) - 1, COLUMNS * ROWS).round().astype(int)]
    where = {name: i for i, name in enumerate(source.names)}
    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(COLUMNS * 1.55, ROWS * 1.85))
    for axis, prediction in zip(axes.flat, chosen, strict=True):
        _show(axis, source, where[prediction.name])
        axis.set_title(f"{prediction.percentile:.0%}", fontsize=11, fontweight="bold", pad=3)
        axis.set_xlabel(prediction.name.split("/")[0].replace("-", ", "), fontsize=8, color=GREY, labelpad=2)
    figure.suptitle(
        f"{len(ranked)} images by uncertainty, every {len(ranked) / len(chosen):.1f}th shown: "
        "share of ordinary photos that are more certain",
        fontsize=12,
    )
    figure.tight_layout()
    _save(figure, path)


def retrieval_picture(
    answers: list[Neighbours],
    always: list[Neighbours],
    right: np.ndarray,
    queries: ImageSource,
    photos: ImageSource,
    path: Path,
) -> None:
    """Pairs of a cropped query and its nearest photo: answered or withheld, right or wrong.

    Args:
        answers: with abstention.
        always: the same queries without it.
        right: (queries,) whether the nearest photo is the query's own.
    """
    query_at = {name: i for i, name in enumerate(queries.names)}
    photo_at = {name: i for i, name in enumerate(photos.names)}
    answered = np.array([a.abstained is None for a in answers])
    groups = [
        ("answered, right", GREEN, np.flatnonzero(answered & right)),
        ("answered, wrong", RED, np.flatnonzero(answered & ~right)),
        ("withheld, would have been wrong", GREEN, np.flatnonzero(~answered & ~right)),
        ("withheld, would have been right", GREY, np.flatnonzero(~answered & right)),
    ]
    pairs = 5
    figure, axes = plt.subplots(len(groups), 2 * pairs, figsize=(2 * pairs * 1.2, len(groups) * 1.75))
    for row, (title, colour, members) in zip(axes, groups, strict=True):
        for axis in row:
            axis.axis("off")
        row[0].text(
            0, 1.28, f"{title}: {len(members)}", transform=row[0].transAxes, color=colour, fontsize=12
        )
        spread = np.linspace(0, len(members) - 1, min(pairs, len(members))).round().astype(int)
        for position, member in enumerate(members[spread]):
            left, beside = row[2 * position], row[2 * position + 1]
            query, found = answers[member].query, always[member].neighbours[0]
            _show(left, queries, query_at[query.name])
            left.set_title(f"query, {query.percentile:.0%}", fontsize=8, pad=2)
            _show(beside, photos, photo_at[found.name])
            beside.set_title(f"found, cos {found.similarity:.2f}", fontsize=8, pad=2)
    figure.subplots_adjust(hspace=0.55, wspace=0.08, left=0.02, right=0.98, top=0.86, bottom=0.02)
    figure.suptitle(
        "Which photo was this crop cut from? Percent: the crop's uncertainty percentile", fontsize=12
    )
    _save(figure, path)


def _show(axis: Any, source: ImageSource, index: int) -> None:
    axis.axis("on")
    axis.imshow(read_source_image(source, index).resize((160, 160)))
    axis.set_xticks([])
    axis.set_yticks([])


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
