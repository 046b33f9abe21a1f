"""Exact search of a large set: bounds in memory exclude, the stored rows decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from .spell_anchors import Anchors
from .spell_index import Index
from .spell_int8 import prepare
from .spell_protected import InsidePairs
from .spell_rerank import RowReader, pair_distances
from .spell_residuals import Residuals
from .spell_scan import Candidates, joined, scan

_BYTES = 1 << 24  # of float32 rows read at once, and of rows yielded at once
_PENDING = 1 << 15  # candidates that wait for each other, so that reads can be merged


class _Measured(NamedTuple):
    """Candidates whose rows have been read.

    Attributes:
        pairs: M of them.
        numbers: of their references, shape (M,), int64.
        distance: exact, shape (M,), float64.
        rows: that were read, shape (R, D), float32.
        row: which of them is whose, shape (M,), int64.
    """

    pairs: Candidates
    numbers: np.ndarray
    distance: np.ndarray
    rows: torch.Tensor
    row: np.ndarray


class IndexedSearch:
    """One generation's search: keeps what the triangle inequality lets it reuse in the next step.

    Memory stays bounded whatever lies inside: candidates are decided and yielded while the pass goes on.

    Args:
        index: of the references.
        reader: of their rows.
    """

    def __init__(self, index: Index, reader: RowReader) -> None:
        self._index, self._reader = index, reader
        self._anchors, self._residuals = Anchors(), Residuals()
        self._at_once = max(1, _BYTES // (4 * reader.columns))

    def within(self, queries: torch.Tensor, radius: float) -> Iterator[InsidePairs]:
        """All references within `radius` of each query of shape (B, D), none missed, in bounded chunks."""
        index = self._index.on(queries.device)
        prepared = prepare(queries, index.coordinates)
        self._residuals.follow(index, prepared)
        for some in _gathered(self._anchors.candidates(index, queries, prepared, radius)):
            possible = self._residuals.possible(index, prepared, radius, some)
            for measured in self._measured(queries, possible):
                outside = measured.distance > radius
                self._residuals.learn(
                    index, prepared, measured.pairs.where(outside), measured.distance[outside]
                )
                yield from self._inside(measured, np.flatnonzero(~outside))

    def nearest(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Number and exact float64 distance of the nearest reference of each query (B, D)."""
        index = self._index.on(queries.device)
        found = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
        reach = torch.full((len(queries),), torch.inf, dtype=torch.float64, device=queries.device)
        for some in scan(index, prepare(queries, index.coordinates), reach):
            closest_first = np.argsort(some.bound, kind="stable")
            for start in range(0, len(closest_first), 256):
                part = closest_first[start : start + 256]
                part = part[some.bound[part] <= reach.cpu().numpy()[some.query[part]]]
                for measured in self._measured(queries, some.where(part)):
                    each = (measured.pairs.query, measured.numbers, measured.distance)
                    for query, number, distance in zip(*(array.tolist() for array in each), strict=True):
                        if distance < reach[query]:
                            reach[query], found[query] = distance, number
        return found, reach

    def _measured(self, queries: torch.Tensor, some: Candidates) -> Iterator[_Measured]:
        """Read the rows of candidates, a bounded number at once, and measure."""
        numbers = self._index.numbers.numpy()[some.place]
        order = numbers.argsort(kind="stable")
        some, numbers = some.where(order), numbers[order]
        read, row = np.unique(numbers, return_inverse=True)
        for first in range(0, len(read), self._at_once):
            rows = torch.from_numpy(self._reader.read(read[first : first + self._at_once])).float()
            rows = rows.to(queries.device)
            part = slice(*np.searchsorted(row, (first, first + self._at_once)))
            pairs, place = some.where(part), row[part] - first
            distance = pair_distances(queries, rows, pairs.query, place)
            yield _Measured(pairs, numbers[part], distance, rows, place)

    def _inside(self, measured: _Measured, chosen: np.ndarray) -> Iterator[InsidePairs]:
        """Some of the measured pairs, a bounded number at once."""
        device = measured.rows.device
        for start in range(0, len(chosen), self._at_once):
            some = chosen[start : start + self._at_once]
            query, number, row, distance = (
                torch.from_numpy(each[some]).to(device)
                for each in (measured.pairs.query, measured.numbers, measured.row, measured.distance)
            )
            yield InsidePairs(query, number, measured.rows[row], distance)


def _gathered(chunks: Iterable[Candidates]) -> Iterator[Candidates]:
    """Small chunks together, large ones as they are."""
    waiting: list[Candidates] = []
    for chunk in chunks:
        waiting.append(chunk)
        if sum(len(each.place) for each in waiting) >= _PENDING:
            yield joined(waiting)
            waiting = []
    if waiting:
        yield joined(waiting)
