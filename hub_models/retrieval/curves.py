"""What abstention buys: R@1 against the share of images kept, leaving out the most uncertain first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import GalleryError
from .abstention import Scope
from .index import Index, normalised

#: Shares left out.
DROPPED = tuple(round(0.05 * step, 2) for step in range(11))
RANDOM_DRAWS = 10
#: Neighbours looked up once for each image; where all of them are left out, the search is done again.
LISTED = 64


@dataclass(frozen=True)
class RetrievalCurves:
    """R@1 after leaving out S shares of the images.

    Attributes:
        kept: (S,) share of images kept, falling.
        recall: name of an uncertainty -> (S,) R@1, leaving out what it ranks highest.
        random: (S,) mean R@1 over draws that leave out images at random.
        random_sd: (S,) standard deviation over these draws.
        applies_to: what was left out: queries, images of the gallery, or both.
        per_class: whether the share was left out of each class, or of all images together.
    """

    kept: np.ndarray
    recall: dict[str, np.ndarray]
    random: np.ndarray
    random_sd: np.ndarray
    applies_to: Scope
    per_class: bool


def retrieval_curves(
    embeddings: np.ndarray,
    labels: np.ndarray,
    uncertainties: Mapping[str, np.ndarray],
    *,
    applies_to: Scope = "both",
    per_class: bool = False,
    seed: int = 0,
) -> RetrievalCurves:
    """Leave-one-out R@1 of a labelled set, each image a query to all others.

    R@1 is the share of kept queries whose nearest kept other image, by cosine, has the same class. A share d
    of n images leaves out the floor(d n) most uncertain; ties go in order.

    Args:
        embeddings: (N, D), any length.
        labels: (N,).
        uncertainties: name -> (N,), such as a read-out beside the entropy.
        per_class: leave out floor(d n_c) of each class c, the paper's way; it keeps the classes in balance.
        seed: of the random draws.

    Raises:
        GalleryError: fewer than two images, lengths that differ, NaN or infinity.
    """
    labels = np.asarray(labels)
    for name, values in {"labels": labels, **uncertainties}.items():
        if len(values) != len(embeddings) or not np.isfinite(values).all():
            raise GalleryError(f"{name}: needs one finite value for each of the {len(embeddings)} images")
    neighbours = _Neighbours(embeddings)
    groups = labels if per_class else np.zeros(len(labels), dtype=np.int64)

    def curve(order: np.ndarray) -> np.ndarray:
        masks = (_keep(order, groups, share) for share in DROPPED)
        return np.asarray([_recall_at_1(neighbours, labels, mask, applies_to) for mask in masks])

    draws = [
        curve(np.random.default_rng([seed, draw]).permutation(len(labels))) for draw in range(RANDOM_DRAWS)
    ]
    return RetrievalCurves(
        kept=1 - np.asarray(DROPPED),
        recall={
            name: curve(np.argsort(-np.asarray(values, dtype=np.float64), kind="stable"))
            for name, values in uncertainties.items()
        },
        random=np.mean(draws, axis=0),
        random_sd=np.std(draws, axis=0),
        applies_to=applies_to,
        per_class=per_class,
    )


def plot_curves(panels: Mapping[str, RetrievalCurves], path: str | Path) -> None:
    """Draw a panel for each entry (title -> curves) and save the picture; its format follows the suffix."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(panels), 4.0), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        dropped = 100 * (1 - curves.kept)
        axis.fill_between(
            dropped,
            curves.random - curves.random_sd,
            curves.random + curves.random_sd,
            color="0.85",
            linewidth=0,
        )
        axis.plot(dropped, curves.random, color="0.45", linestyle="--", label="random (mean ± sd)")
        for (name, recall), style in zip(curves.recall.items(), _STYLES * len(curves.recall), strict=False):
            axis.plot(dropped, recall, label=name, markersize=5, **style)
        axis.set(title=title, xlabel=f"most uncertain {_WHAT[curves.applies_to]} left out (%)")
        axis.grid(color="0.92")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("R@1 of what is kept")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


_WHAT = {"queries": "queries", "gallery": "gallery images", "both": "images (queries and gallery)"}
#: Told apart by colour (safe for colour-blind people) and by marker.
_STYLES = (
    {"color": "#0072B2", "marker": "o"},
    {"color": "#D55E00", "marker": "s"},
    {"color": "#009E73", "marker": "^"},
    {"color": "#CC79A7", "marker": "D"},
)


class _Neighbours:
    """Each image's nearest others, looked up once."""

    def __init__(self, embeddings: np.ndarray) -> None:
        self.unit = normalised(embeddings)
        self.index = Index(self.unit)
        self.listed = self.index.search(self.unit, LISTED, exclude=np.arange(len(self.unit))).indices

    def nearest_kept(self, queries: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """The nearest other image of each query among those kept, -1 where none is left."""
        usable = kept[self.listed[queries]]
        nearest = self.listed[queries, usable.argmax(axis=1)]
        missing = ~usable.any(axis=1)
        nearest[missing] = [self._search_kept(query, kept) for query in queries[missing]]
        return nearest

    def _search_kept(self, query: int, kept: np.ndarray) -> int:
        others = np.flatnonzero(kept)
        others = others[others != query]
        return int(others[(self.unit[others] @ self.unit[query]).argmax()]) if len(others) else -1


def _keep(order: np.ndarray, groups: np.ndarray, share: float) -> np.ndarray:
    """(N,) False for the first floor(share n) images of each group in ``order``."""
    keep = np.ones(len(order), dtype=bool)
    for group in np.unique(groups):
        members = order[groups[order] == group]
        keep[members[: int(share * len(members) + 1e-9)]] = False
    return keep


def _recall_at_1(neighbours: _Neighbours, labels: np.ndarray, keep: np.ndarray, applies_to: Scope) -> float:
    everything = np.ones(len(keep), dtype=bool)
    queries = np.flatnonzero(everything if applies_to == "gallery" else keep)
    nearest = neighbours.nearest_kept(queries, everything if applies_to == "queries" else keep)
    return float(np.mean((nearest >= 0) & (labels[nearest] == labels[queries])))
