"""Search of a set that fits in memory as float32: no index, nothing to prepare."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .spell_memory import MemoryReferences
from .spell_protected import InsidePairs


class SmallSearch:
    """Exact search in memory.

    Args:
        rows: the live references, shape (N, D), N >= 1.
        numbers: of these references in the set, shape (N,), int64.
    """

    def __init__(self, rows: torch.Tensor, numbers: torch.Tensor) -> None:
        self._references, self._numbers = MemoryReferences(rows), numbers

    def within(self, queries: torch.Tensor, radius: float) -> Iterator[InsidePairs]:
        """All references within `radius` of each query of shape (B, D), none missed, in bounded chunks."""
        for pairs in self._references.within(queries, radius):
            yield pairs._replace(reference=self._number(pairs.reference))

    def nearest(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Number and exact float64 distance of the nearest reference of each query (B, D)."""
        index, distance = self._references.nearest(queries)
        return self._number(index), distance

    def _number(self, index: torch.Tensor) -> torch.Tensor:
        return self._numbers.to(index.device)[index]
