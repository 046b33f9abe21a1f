"""In which order to sum variables out, and what that costs. Published code."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

_GONE = (-1, -1)


@dataclass(frozen=True)
class Elimination:
    """A way to sum out all variables of a factor graph.

    Attributes:
        order: variables, the first one first.
        width: the most other variables that one sum runs over (induced width of this order).
        cells: size of all tables together, sum of 2^(variables of the sum).
    """

    order: tuple[int, ...]
    width: int
    cells: int


def eliminate(scopes: Iterable[tuple[int, ...]], variables: int, most_width: int) -> Elimination | None:
    """Min-fill order, ties by degree (Kjaerulff, 1990); None as soon as it needs more than ``most_width``.

    Args:
        scopes: variables that share a factor, each below ``variables``.
        variables: how many there are.
        most_width: give up beyond this width.
    """
    near: list[set[int]] = [set() for _ in range(variables)]
    for scope in scopes:
        for v in scope:
            near[v].update(scope)
    for v, around in enumerate(near):
        around.discard(v)
    costs = [_fill(near, v) for v in range(variables)]
    heap = [(cost, v) for v, cost in enumerate(costs)]
    heapq.heapify(heap)
    order: list[int] = []
    width = cells = 0
    while heap:
        cost, v = heapq.heappop(heap)
        if cost != costs[v]:
            continue  # an older entry
        around = near[v]
        if len(around) > most_width:
            return None
        order.append(v)
        costs[v] = _GONE
        width, cells = max(width, len(around)), cells + (2 << len(around))
        for u in around:
            near[u] |= around
            near[u] -= {u, v}
        for u in around:
            costs[u] = _fill(near, u)
            heapq.heappush(heap, (costs[u], u))
    return Elimination(tuple(order), width, cells)


def _fill(near: list[set[int]], v: int) -> tuple[int, int]:
    """Edges that summing out v adds (twice), and its degree."""
    around = near[v]
    degree = len(around)
    return sum([degree - 1 - len(around & near[u]) for u in around]), degree
