"""Exact search of a set of any size: bounds in memory exclude, the stored rows decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from .spell_anchors import Anchors
from .spell_index import Index
from .spell_int8 import prepare
from .spell_kernels import pair_squares
from .spell_protected import InsidePairs
from .spell_rerank import RowReader, exact_pairs
from .spell_scan import Candidates, scan

_BYTES = 1 << 25  # of float32 rows read at once, and of rows yielded at once
_PENDING = 1 << 15  # candidates that wait for each other, so that reads can be merged


class IndexedSearch:
    """One generation's search: keeps what the triangle inequality lets it reuse in the next step.

    Memory stays bounded whatever lies inside: candidates are decided and yielded while the pass goes on.

    Args:
        index: of the references.
        reader: of their rows.
    """

    def __init__(self, index: Index, reader: RowReader) -> None:
        self._index, self._reader, self._anchors = index, reader, Anchors()

    def within(self, queries: torch.Tensor, radius: float) -> Iterator[InsidePairs]:
        """All references within `radius` of each query of shape (B, D), none missed, in bounded chunks."""
        index = self._index.on(queries.device)
        for some in _gathered(self._anchors.candidates(index, queries, radius)):
            yield from self._decide(queries, some, radius)

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
                for pairs in self._decide(queries, Candidates(*(each[part] for each in some)), torch.inf):
                    for query, number, distance in zip(*pairs[:2], pairs.distance, strict=True):
                        if distance < reach[query]:
                            reach[query], found[query] = distance, number
        return found, reach

    def _decide(self, queries: torch.Tensor, some: Candidates, radius: float) -> Iterator[InsidePairs]:
        """Read the candidates' rows and yield the pairs that are inside."""
        order = np.argsort(some.row, kind="stable")
        query, row = some.query[order], some.row[order]
        at_once = max(1, _BYTES // (4 * self._reader.columns))
        numbers, place = np.unique(row, return_inverse=True)
        for first in range(0, len(numbers), at_once):
            rows = torch.from_numpy(self._reader.read(numbers[first : first + at_once])).float()
            start, stop = np.searchsorted(place, (first, first + at_once))
            yield from self._inside(
                queries, rows, query[start:stop], place[start:stop] - first, row[start:stop], radius
            )

    def _inside(
        self,
        queries: torch.Tensor,
        rows: torch.Tensor,
        query: np.ndarray,
        place: np.ndarray,
        number: np.ndarray,
        radius: float,
    ) -> Iterator[InsidePairs]:
        distance = None
        if pair_squares is not None and queries.device.type == "cpu":
            distance = np.empty(len(query))
            pair_squares(queries.detach().double().numpy(), rows.numpy(), query, place, distance)
            distance = np.sqrt(distance)
            inside = distance <= radius
            query, place, number = query[inside], place[inside], number[inside]
            distance = torch.from_numpy(distance[inside])
        rows = rows.to(queries.device)
        pairs = torch.from_numpy(np.stack([query, place, number])).to(queries.device)
        at_once = max(1, _BYTES // (4 * self._reader.columns))
        for start in range(0, len(query), at_once):
            some = pairs[:, start : start + at_once]
            if distance is not None:
                yield InsidePairs(some[0], some[2], rows[some[1]], distance[start : start + at_once])
                continue
            inside, exact = exact_pairs(queries, rows, some[0], some[1], radius)
            if len(inside):
                some = some[:, inside]
                yield InsidePairs(some[0], some[2], rows[some[1]], exact)


def _gathered(chunks: Iterable[Candidates]) -> Iterator[Candidates]:
    """Small chunks together, large ones as they are."""
    waiting: list[Candidates] = []
    for chunk in chunks:
        waiting.append(chunk)
        if sum(len(each.row) for each in waiting) >= _PENDING:
            yield Candidates(*map(np.concatenate, zip(*waiting, strict=True)))
            waiting = []
    if waiting:
        yield Candidates(*map(np.concatenate, zip(*waiting, strict=True)))
