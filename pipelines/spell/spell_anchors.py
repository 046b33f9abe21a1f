"""Reuse between steps: what a wider pass found at an anchor holds all that a nearby query can have inside.

By the triangle inequality a reference within r of x is within r + |x - a| of a. So one pass with radius r + margin
serves every step whose queries have moved no farther than the margin since. All queries of a batch share the pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from .spell_index import Index
from .spell_int8 import prepare
from .spell_memory import exact_distance
from .spell_scan import Candidates, refine, scan

_LONGEST = 1 / 256  # share of all pairs in a list; a longer one costs more than the passes that it saves
_SLACK = 1 + 1e-9  # beyond what a float64 distance can be wrong by, relatively


class _List(NamedTuple):
    """Every pair whose distance to its anchor may be within `edge`, the nearest first."""

    anchors: torch.Tensor
    edge: float
    pairs: Candidates


class Anchors:
    """The pairs of the last wide pass, and how wide to make the next.

    The margin is so many times what the queries moved in the last step; it shrinks after a list that grew too long
    and grows after one that was soon spent.
    """

    def __init__(self) -> None:
        self._list: _List | None = None
        self._last: torch.Tensor | None = None
        self._steps = 4.0

    def candidates(self, index: Index, queries: torch.Tensor, radius: float) -> Iterator[Candidates]:
        """Pairs that may be within the radius, in bounded chunks."""
        prepared = prepare(queries, index.coordinates)
        moved = _moved(self._last, queries)
        self._last = queries.detach().clone()
        if self._list is not None:
            since = _moved(self._list.anchors, queries)
            if since is not None and radius + float(since.max()) * _SLACK <= self._list.edge:
                reach = (radius + since * _SLACK).cpu().numpy()
                pairs = self._list.pairs
                near = slice(0, int(np.searchsorted(pairs.bound, reach.max(), side="right")))
                possible = np.flatnonzero(pairs.bound[near] <= reach[pairs.query[near]])
                again = Candidates(*(each[possible] for each in pairs))
                yield refine(index, prepared, _everywhere(queries, radius), again)
                return
            self._list = None
        margin = 0.0 if moved is None else self._steps * float(moved.max())
        wide = _everywhere(queries, radius + margin)
        kept: list[Candidates] | None = [] if margin else None
        held, longest = 0, int(_LONGEST * len(queries) * len(index.steps))
        for chunk in scan(index, prepared, wide):
            if kept is not None:
                kept.append(chunk)
                held += len(chunk.row)
                if held > longest:
                    kept = None
                    wide.fill_(radius)
                    self._steps = max(self._steps / 2, 1.0)
            inside = np.flatnonzero(chunk.bound <= radius)
            yield Candidates(*(each[inside] for each in chunk))
        if kept:
            self._list = _List(self._last, radius + margin, _nearest_first(kept))
            if held < longest // 8:
                self._steps = min(self._steps * 1.5, 32.0)


def _moved(before: torch.Tensor | None, queries: torch.Tensor) -> torch.Tensor | None:
    """How far each query is from where it was, float64; None for another batch."""
    if before is None or before.shape != queries.shape or before.device != queries.device:
        return None
    return exact_distance(queries, before)


def _everywhere(queries: torch.Tensor, radius: float) -> torch.Tensor:
    return torch.full((len(queries),), radius, dtype=torch.float64, device=queries.device)


def _nearest_first(chunks: list[Candidates]) -> Candidates:
    pairs = Candidates(*map(np.concatenate, zip(*chunks, strict=True)))
    order = np.argsort(pairs.bound, kind="stable")
    return Candidates(*(each[order] for each in pairs))
