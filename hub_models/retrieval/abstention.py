"""Safe retrieval: answer with neighbours, and withhold what is too uncertain.

After Pretrained Visual Uncertainties (Kirchhof et al., 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..errors import GalleryError
from ..prediction import Prediction
from .gallery import Gallery
from .index import Hits, Index

Yardstick = Literal["reference", "gallery", "class"]
Scope = Literal["queries", "gallery", "both"]

#: Queries that are answered together, which bounds memory where many neighbours have to be passed over.
CHUNK = 64


@dataclass(frozen=True)
class AbstentionPolicy:
    """What counts as too uncertain.

    Attributes:
        level: an image is withheld if it is more uncertain than this share of the yardstick, in (0, 1]; 0.9
            is the paper's, 1 withholds nothing but what is beyond the yardstick's most uncertain image.
        yardstick: ``reference``, the images stored with the model (its percentile); ``gallery``, all images
            of the gallery; ``class``, the gallery's images of the same class (the paper's choice). A query,
            whose class is unknown, is measured by the class of its nearest neighbour.
        applies_to: ``queries``, ``gallery`` (its images are passed over as neighbours), or ``both``.

    Raises:
        GalleryError: a value outside these.
    """

    level: float = 0.9
    yardstick: Yardstick = "reference"
    applies_to: Scope = "both"

    def __post_init__(self) -> None:
        if not 0 < self.level <= 1:
            raise GalleryError(f"level is {self.level}; give a share above 0 and up to 1, such as 0.9")
        if self.yardstick not in get_args(Yardstick):
            raise GalleryError(
                f"yardstick {self.yardstick!r} is unknown; choose from {', '.join(get_args(Yardstick))}"
            )
        if self.applies_to not in get_args(Scope):
            raise GalleryError(
                f"applies_to {self.applies_to!r} is unknown; choose from {', '.join(get_args(Scope))}"
            )


@dataclass(frozen=True)
class Neighbour:
    """An image of the gallery beside a query.

    Attributes:
        item: its row in the gallery.
        similarity: cosine to the query, -1 to 1.
        class_name: its class in words, or None without labels.
        percentile: of its uncertainty in the model's reference, or None.
    """

    item: int
    name: str
    similarity: float
    class_name: str | None
    uncertainty: float
    percentile: float | None


def neighbour_of(gallery: Gallery, item: int, similarity: float) -> Neighbour:
    """Row ``item`` of a gallery beside a query."""
    return Neighbour(
        item=item,
        name=gallery.names[item],
        similarity=similarity,
        class_name=gallery.class_name(item),
        uncertainty=float(gallery.uncertainty[item]),
        percentile=None if gallery.percentiles is None else float(gallery.percentiles[item]),
    )


@dataclass(frozen=True)
class Withheld:
    """A neighbour that was found but is not given, and the reason for a person to read."""

    neighbour: Neighbour
    reason: str


@dataclass(frozen=True)
class Neighbours:
    """The answer to one query.

    Attributes:
        query: what the model says about it.
        neighbours: at most k, nearest first; empty where ``abstained``.
        abstained: why the query is not answered, or None.
        withheld: neighbours that would have come before the last one given; all of them where ``abstained``.
    """

    query: Prediction
    neighbours: tuple[Neighbour, ...]
    abstained: str | None
    withheld: tuple[Withheld, ...]


class SafeRetriever:
    """A gallery that knows when not to answer.

    Args:
        index: over the gallery's embeddings, such as ``gallery.index()``.

    Raises:
        GalleryError: the gallery lacks what the policy needs (labels, or percentiles).
    """

    def __init__(self, gallery: Gallery, index: Index, policy: AbstentionPolicy) -> None:
        if policy.yardstick == "class" and gallery.labels is None:
            raise GalleryError(
                "the gallery has no labels, so there are no classes to measure by; use another yardstick"
            )
        if policy.yardstick == "reference" and gallery.percentiles is None:
            raise GalleryError(
                "the model of this gallery stores no reference; run `hub-models recalibrate` and index "
                "again, or use another yardstick"
            )
        self.gallery, self.index, self.policy = gallery, index, policy
        self._limits = _limits(gallery, policy)
        self._too_uncertain = _values(gallery, policy) > self._limits

    def query(
        self, queries: Sequence[Prediction], k: int = 5, exclude: Sequence[int] | None = None
    ) -> list[Neighbours]:
        """Answer each query with at most ``k`` neighbours, and say what was withheld and why.

        Args:
            queries: as `hub_models.prediction.predict` gives them, by the model of the gallery.
            exclude: for queries that are images of the gallery themselves, the row of each.

        Raises:
            GalleryError: as `Index.search`; or a query lacks the percentile that the policy needs.
        """
        answers: list[Neighbours] = []
        for start in range(0, len(queries), CHUNK):
            part = slice(start, start + CHUNK)
            rows = None if exclude is None else np.asarray(exclude[part])
            hits = self._search(np.stack([query.embedding for query in queries[part]]), k, rows)
            answers += [self._answer(query, hits, row, k) for row, query in enumerate(queries[part])]
        return answers

    def _search(self, embeddings: np.ndarray, k: int, exclude: np.ndarray | None) -> Hits:
        """As many hits as it takes for each query to keep k of them."""
        wanted = k
        while True:
            hits = self.index.search(embeddings, wanted, exclude)
            kept = (~self._passed_over(hits.indices)).sum(axis=1)
            exhausted = hits.indices[:, -1] < 0  # an approximate index finds no more
            if ((kept >= k) | exhausted).all() or hits.indices.shape[1] < wanted:
                return hits
            wanted *= 2

    def _passed_over(self, items: np.ndarray) -> np.ndarray:
        """Which hits are no answer: too uncertain, or none at all (-1)."""
        if self.policy.applies_to == "queries":
            return items < 0
        return (items < 0) | self._too_uncertain[items]

    def _answer(self, query: Prediction, hits: Hits, row: int, k: int) -> Neighbours:
        found = [
            neighbour_of(self.gallery, int(item), float(similarity))
            for item, similarity in zip(hits.indices[row], hits.similarities[row], strict=True)
            if item >= 0
        ]
        abstained = self._why_abstain(query, found)
        if abstained is not None:
            return Neighbours(
                query, (), abstained, tuple(Withheld(n, "the query is withheld") for n in found[:k])
            )
        neighbours: list[Neighbour] = []
        withheld: list[Withheld] = []
        for neighbour in found:
            if len(neighbours) == k:
                break
            if self._passed_over(np.asarray(neighbour.item)):
                withheld.append(Withheld(neighbour, self._reason(neighbour, neighbour.item)))
            else:
                neighbours.append(neighbour)
        return Neighbours(query, tuple(neighbours), None, tuple(withheld))

    def _why_abstain(self, query: Prediction, found: list[Neighbour]) -> str | None:
        if self.policy.applies_to == "gallery":
            return None
        if self.policy.yardstick == "reference" and query.percentile is None:
            raise GalleryError(
                f"{query.name}: has no percentile, as its model stores no reference; recalibrate the model"
            )
        nearest = found[0].item if found else 0
        value = query.percentile if self.policy.yardstick == "reference" else query.uncertainty
        return self._reason(query, nearest) if value > self._limits[nearest] else None

    def _reason(self, image: Prediction | Neighbour, item: int) -> str:
        """Why an image is too uncertain, measured as image ``item`` of the gallery is."""
        level = f"{self.policy.level:.0%}"
        if self.policy.yardstick == "reference":
            return f"more uncertain than {image.percentile:.1%} of the reference images (limit {level})"
        of = (
            "the gallery"
            if self.policy.yardstick == "gallery"
            else f"class {self.gallery.class_name(item)!r}"
        )
        limit = self._limits[item]
        return (
            f"uncertainty {image.uncertainty:.3g} is above {limit:.3g}, which {level} of {of} do not exceed"
        )


def _values(gallery: Gallery, policy: AbstentionPolicy) -> np.ndarray:
    """(N,) what is compared with the limits."""
    return gallery.percentiles if policy.yardstick == "reference" else gallery.uncertainty  # type: ignore[return-value]


def _limits(gallery: Gallery, policy: AbstentionPolicy) -> np.ndarray:
    """(N,) the largest value that is still certain enough, for each image of the gallery."""
    limits = np.full(len(gallery), policy.level)
    if policy.yardstick == "gallery":
        limits[:] = quantile(gallery.uncertainty, policy.level)
    elif policy.yardstick == "class":
        labels = np.asarray(gallery.labels)
        for label in np.unique(labels):
            limits[labels == label] = quantile(gallery.uncertainty[labels == label], policy.level)
    return limits


def quantile(values: np.ndarray, level: float) -> float:
    """The smallest of ``values`` that at least a share ``level`` of them does not exceed.

    Without interpolation, so at most 1 - ``level`` lies above, in a class of two as well.
    """
    return float(np.quantile(np.asarray(values, dtype=np.float64), level, method="inverted_cdf"))
