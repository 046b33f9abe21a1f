"""In which order to sum variables out, and what that costs. Published code."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass


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
    near = [0] * variables  # neighbours as bits of one integer
    for scope in scopes:
        bits = sum(1 << v for v in scope)
        for v in scope:
            near[v] |= bits
    near = [bits & ~(1 << v) for v, bits in enumerate(near)]
    costs = [_fill(near, v) for v in range(variables)]
    heap = [(cost, v) for v, cost in enumerate(costs)]
    heapq.heapify(heap)
    order: list[int] = []
    width = cells = 0
    done = [False] * variables
    while heap:
        cost, v = heapq.heappop(heap)
        if done[v] or cost != costs[v]:
            continue
        degree = near[v].bit_count()
        if degree > most_width:
            return None
        done[v] = True
        order.append(v)
        width, cells = max(width, degree), cells + (2 << degree)
        neighbours = list(_bits(near[v]))
        for u in neighbours:
            near[u] = (near[u] | near[v]) & ~(1 << u) & ~(1 << v)
        for u in neighbours:
            costs[u] = _fill(near, u)
            heapq.heappush(heap, (costs[u], u))
    return Elimination(tuple(order), width, cells)


def _fill(near: list[int], v: int) -> tuple[int, int]:
    """Edges that summing out v adds (twice), and its degree."""
    around = near[v]
    degree = around.bit_count()
    missing = sum((around & ~near[u]).bit_count() - 1 for u in _bits(around))
    return missing, degree


def _bits(value: int) -> Iterable[int]:
    while value:
        low = value & -value
        yield low.bit_length() - 1
        value ^= low
