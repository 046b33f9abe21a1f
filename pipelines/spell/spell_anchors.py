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
from .spell_int8 import PreparedQueries
from .spell_scan import TILES, Candidates, joined, refine, scan

_LONGEST = 1 / 512  # share of all pairs in a list; a longer one costs more than the passes that it saves
_SOON = 1 / 8  # share of a pass after which the length of its list can be foreseen
_WIDEN = 1.5  # the margin of a pass, times what the last one could keep
_MOST_STEPS = 32.0
_SLACK = 1 + 1e-9  # beyond what a float64 distance can be wrong by, relatively


class _List(NamedTuple):
    """Every pair whose distance to its anchor may be within `edge`, the nearest first."""

    anchors: torch.Tensor
    edge: float
    pairs: Candidates


class Anchors:
    """The pairs of the last wide pass, and how wide to make the next.

    The margin is so many times what the queries moved in the last step. Where the list would become too long, it is
    narrowed while the pass goes on.
    """

    def __init__(self) -> None:
        self._list: _List | None = None
        self._last: torch.Tensor | None = None
        self._steps = 4.0

    def candidates(
        self, index: Index, queries: torch.Tensor, prepared: PreparedQueries, radius: float
    ) -> Iterator[Candidates]:
        """Pairs that may be within the radius, in bounded chunks."""
        here = queries.detach().double()
        moved = _moved(self._last, here)
        self._last = here
        if self._list is not None:
            since = _moved(self._list.anchors, here)
            if since is not None and radius + float(since.max()) * _SLACK <= self._list.edge:
                reach = (radius + since * _SLACK).cpu().numpy()
                pairs = self._list.pairs
                near = pairs.where(slice(0, int(np.searchsorted(pairs.bound, reach.max(), side="right"))))
                again = near.where(near.bound <= reach[near.query])
                yield refine(index, prepared, _everywhere(here, radius), again)
                return
            self._list = None
        yield from self._pass(index, here, prepared, radius, 0.0 if moved is None else float(moved.max()))

    def _pass(
        self, index: Index, here: torch.Tensor, prepared: PreparedQueries, radius: float, moved: float
    ) -> Iterator[Candidates]:
        """Scan, and keep a list for the steps to come."""
        edge = radius + self._steps * moved
        reach = _everywhere(here, edge)
        longest = _LONGEST * len(reach) * len(index.numbers)
        kept: list[Candidates] = []
        for number, chunk in enumerate(scan(index, prepared, reach), 1):
            if edge > radius:
                kept.append(chunk.where(chunk.bound <= edge))
                done = min(1.0, number * TILES / len(index.tiles))
                room = int(longest * max(done, _SOON))
                if sum(len(each.bound) for each in kept) > room:
                    edge = _edge_of(kept, room // 2)
                    if edge < radius + moved:
                        edge, kept = radius, []
                    reach.fill_(edge)
            yield chunk.where(chunk.bound <= radius)
        if edge > radius:
            pairs = joined(kept)
            pairs = pairs.where(pairs.bound <= edge)
            self._list = _List(here, edge, pairs.where(pairs.bound.argsort(kind="stable")))
        if moved:
            self._steps = min(max(_WIDEN * (edge - radius) / moved, 1.0), _MOST_STEPS)


def _edge_of(kept: list[Candidates], count: int) -> float:
    """The bound that so many do not exceed."""
    return float(np.partition(np.concatenate([each.bound for each in kept]), count)[count])


def _moved(before: torch.Tensor | None, here: torch.Tensor) -> torch.Tensor | None:
    """How far each query is from where it was, float64; None for another batch."""
    if before is None or before.shape != here.shape or before.device != here.device:
        return None
    return (here - before).norm(dim=1)


def _everywhere(here: torch.Tensor, radius: float) -> torch.Tensor:
    return torch.full((len(here),), radius, dtype=torch.float64, device=here.device)
