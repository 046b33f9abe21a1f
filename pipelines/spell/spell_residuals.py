"""Reuse between steps of rows that were read: a reference that is far in what the index leaves out stays far.

Of an orthonormal transform the index keeps a head; |x - z|^2 = |head|^2 + |rest|^2. Once the row of a pair has been
read, its distance tells |rest|, which from then on falls no faster than the query's own rest moves. For two details
that have nothing to do with each other that says far more than the lengths of both, so few rows are read twice.
"""

from __future__ import annotations

import numpy as np
import torch

from .spell_index import Index
from .spell_int8 import PreparedQueries
from .spell_kernels import head_squares
from .spell_scan import Candidates
from .spell_threads import in_parallel

_MOST = 1 << 19  # pairs remembered
_PAIRS = 1 << 14  # at once in PyTorch
_SLACK = 1e-9  # beyond what float64 sums can be wrong by, relatively
_ROUNDING = 1e-12  # beyond what coordinates can be wrong by, in lengths of the query


class Residuals:
    """Pairs that were outside when their rows were read. Knows one batch; another one makes it begin anew."""

    def __init__(self) -> None:
        self._codes = np.empty(0, np.int64)  # query * N + place, ascending
        self._known = np.empty(0)  # distance of the rests, plus how far the query's rest had come by then
        self._path = np.empty(0)
        self._last: torch.Tensor | None = None

    def follow(self, index: Index, queries: PreparedQueries) -> None:
        """Take note of where a step's queries are."""
        rest = queries.exact[:, index.coordinates.levels[-1] :]
        if self._last is None or self._last.shape != rest.shape or self._last.device != rest.device:
            self.__init__()
            self._path = np.zeros(len(rest))
        else:
            moved = (rest - self._last).norm(dim=1) * (1 + _SLACK) + queries.exact.norm(dim=1) * _ROUNDING
            self._path += moved.cpu().numpy()
        self._last = rest

    def possible(
        self, index: Index, queries: PreparedQueries, radius: float, pairs: Candidates
    ) -> Candidates:
        """Those of some pairs that what is remembered cannot exclude."""
        if not len(self._codes):
            return pairs
        codes = _codes(index, pairs)
        where = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        seen = np.flatnonzero(self._codes[where] == codes)
        some = pairs.where(seen)
        head, wrong = _heads(index, queries, some)
        rest = self._known[where[seen]] - self._path[some.query]
        nearest = (head - wrong).clip(min=0) ** 2 + rest.clip(min=0) ** 2
        kept = np.ones(len(codes), bool)
        kept[seen] = nearest <= radius**2 * (1 + _SLACK)
        return pairs.where(kept)

    def learn(self, index: Index, queries: PreparedQueries, pairs: Candidates, distance: np.ndarray) -> None:
        """Remember pairs whose distances were measured."""
        if not self._last.shape[1] or not len(distance):
            return
        head, wrong = _heads(index, queries, pairs)
        rest = (distance**2 * (1 - _SLACK) - (head + wrong) ** 2 * (1 + _SLACK)).clip(min=0) ** 0.5
        known = rest + self._path[pairs.query]
        codes = _codes(index, pairs)
        order = codes.argsort()
        codes, known = codes[order], known[order]
        if len(self._codes) + len(codes) > _MOST:
            self._codes, self._known = self._codes[:0], self._known[:0]
        where = np.searchsorted(self._codes, codes)
        again = np.zeros(len(codes), bool)
        within = where < len(self._codes)
        again[within] = self._codes[where[within]] == codes[within]
        self._known[where[again]] = known[again]
        self._codes = np.insert(self._codes, where[~again], codes[~again])
        self._known = np.insert(self._known, where[~again], known[~again])


def _codes(index: Index, pairs: Candidates) -> np.ndarray:
    return pairs.query * len(index.numbers) + pairs.place


def _heads(index: Index, queries: PreparedQueries, pairs: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """Distances of pairs in the coordinates of the index, and what they may be wrong by."""
    kept = index.coordinates.levels[-1]
    place = torch.from_numpy(pairs.place).to(index.tiles.device)
    wrong = (index.deep[place, -1, 2] if index.deep.shape[1] else index.outer[-1, 2, place]).double()
    wrong += queries.exact.norm(dim=1)[torch.from_numpy(pairs.query).to(place.device)] * _ROUNDING
    own, scales = queries.exact[:, :kept], index.coordinates.scales.to(place.device)
    if head_squares is not None and index.tiles.device.type == "cpu":
        squares = np.empty(len(place))
        arrays = [each.contiguous().numpy() for each in (index.tiles, index.second, index.rows, own, scales)]
        in_parallel(
            lambda some: head_squares(pairs.query[some], pairs.place[some], *arrays, squares[some]),
            len(squares),
        )
        return np.sqrt(squares), wrong.numpy()
    query, parts = torch.from_numpy(pairs.query).to(place.device), []
    for start in range(0, len(place), _PAIRS):
        some = slice(start, start + _PAIRS)
        off = own[query[some]] - index.steps(place[some]) * scales
        parts.append(off.square().sum(1).sqrt())
    return torch.cat(parts or [wrong]).cpu().numpy(), wrong.cpu().numpy()
