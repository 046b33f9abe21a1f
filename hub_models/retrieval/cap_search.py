"""All images within a cap of the sphere, exactly, whatever the kind of index.

Inner products in float32 are off by at most (D + 8) 2^-24. Rows that lie as near as that to the edge of the cap are
decided in float64, so the answer is that of exact arithmetic on the stored vectors.

An index of inverted lists need not be searched in full: a list whose images lie within the angle r of its centre m
has none within the angle t of the query q if the angle between q and m is above r + t. How much that saves depends
on the data: nearly all of it where images lie in clusters and the cap is small, nothing where they fill the sphere.
"""

from __future__ import annotations

from typing import Any

import faiss  # after `.index`, which says what to install where it is missing
import numpy as np

from ..errors import GalleryError
from .index import CHUNK, Index, normalised

#: What rounding in float64 may do to an angle, in radians.
ANGLE_SLACK = 1e-7


class CapSearch:
    """Caps around queries, searched in the images of an index.

    Args:
        index: of any kind.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self._margin = (index.embeddings.shape[1] + 8) * 2.0**-24
        self._zeros = _zero_rows(index.embeddings)
        # A graph keeps its vectors in a flat index, which is searched in full.
        self._scan = _Lists(index.faiss) if index.kind == "ivf" else _Flat(index.faiss)

    def search(self, direction: np.ndarray, cosine: float) -> tuple[np.ndarray, np.ndarray]:
        """Every image whose cosine similarity with a query is at least ``cosine``, nearest first.

        Args:
            direction: (D,), any length above 0.
            cosine: edge of the cap, in [-1, 1].

        Returns:
            Rows (M,) int64 and their similarities (M,) float32. A row of zeros points nowhere and is in no cap.

        Raises:
            GalleryError: a direction of another width, of zeros, or with NaN or infinity.
        """
        query = self.index.checked(np.asarray(direction)[None])
        if not query.any():
            raise GalleryError("the query's direction is a zero vector: it points nowhere")
        unit = normalised(query)
        similarities, rows = self._scan.search(unit, cosine - self._margin)
        inside = similarities >= cosine + self._margin
        edge = np.flatnonzero(~inside)
        inside[edge] = self._cosines(unit[0], rows[edge]) >= cosine
        if len(self._zeros):
            inside &= ~np.isin(rows, self._zeros)
        rows, similarities = rows[inside], similarities[inside]
        order = np.lexsort((rows, -similarities))
        return rows[order], similarities[order]

    def _cosines(self, unit: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """In float64, equal for equal rows, 0 for a row of zeros."""
        chosen = np.asarray(self.index.embeddings[rows], dtype=np.float64)
        query = unit.astype(np.float64)
        lengths = np.linalg.norm(chosen, axis=1) * np.linalg.norm(query)
        return (chosen * query).sum(axis=1) / np.maximum(lengths, 1e-300)


class _Flat:
    """Every row is compared."""

    def __init__(self, index: Any) -> None:
        self._index = faiss.downcast_index(index.storage) if hasattr(index, "storage") else index

    def search(self, unit: np.ndarray, above: float) -> tuple[np.ndarray, np.ndarray]:
        _, similarities, rows = self._index.range_search(unit, above)
        return similarities, rows


class _Lists:
    """Inverted lists, but for those that cannot hold a row of the cap."""

    def __init__(self, index: Any) -> None:
        self._index = index
        centres = np.empty(
            (index.nlist, index.d), dtype=np.float32
        )  # given, so that faiss returns no torch tensor
        index.quantizer.reconstruct_n(0, index.nlist, centres)
        centres = centres.astype(np.float64)
        self._centres = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-300)
        self._radii = np.array([self._radius(number) for number in range(index.nlist)])

    def search(self, unit: np.ndarray, above: float) -> tuple[np.ndarray, np.ndarray]:
        cap = np.arccos(np.clip(above, -1, 1))
        angles = np.arccos(np.clip(self._centres @ unit[0].astype(np.float64), -1, 1))
        lists = np.flatnonzero(angles <= self._radii + cap + ANGLE_SLACK).astype(np.int64)
        similarities, rows = [np.empty(0, dtype=np.float32)], [np.empty(0, dtype=np.int64)]
        for number in lists.tolist():
            near = self._rows(number) @ unit[0]
            inside = near >= above
            similarities.append(near[inside])
            rows.append(self._numbers(number)[inside])
        return np.concatenate(similarities), np.concatenate(rows)

    def _rows(self, number: int) -> np.ndarray:
        lists, width = self._index.invlists, self._index.d
        size = lists.list_size(number)
        if not size:
            return np.empty((0, width), dtype=np.float32)
        codes = faiss.rev_swig_ptr(lists.get_codes(number), size * width * 4)
        return codes.view(np.float32).reshape(size, width)

    def _numbers(self, number: int) -> np.ndarray:
        size = self._index.invlists.list_size(number)
        if not size:
            return np.empty(0, dtype=np.int64)
        return faiss.rev_swig_ptr(self._index.invlists.get_ids(number), size).copy()

    def _radius(self, number: int) -> float:
        """The largest angle of a list's rows to its centre; -inf without any."""
        rows = self._rows(number).astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1)
        rows, lengths = rows[lengths > 0], lengths[lengths > 0]
        return float(np.arccos(np.clip(rows @ self._centres[number] / lengths, -1, 1)).max(initial=-np.inf))


def _zero_rows(embeddings: np.ndarray) -> np.ndarray:
    """Numbers of the rows of zeros; in chunks, so that a memory-mapped array is never held whole."""
    parts = [
        start + np.flatnonzero(~embeddings[start : start + CHUNK].any(axis=1))
        for start in range(0, len(embeddings), CHUNK)
    ]
    return np.concatenate(parts)
