"""Tables over binary variables, multiplied and summed by broadcasting. Published code.

Scopes ascend in the order of elimination, so that the variable that goes next is the first axis, and sums over it
run over contiguous memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Factor:
    """A table over binary variables.

    Attributes:
        scope: variables; ascending wherever factors are combined.
        table: (2,) * len(scope).
    """

    scope: tuple[int, ...]
    table: np.ndarray


def noisy_or_table(leak: float, trigger: np.ndarray) -> np.ndarray:
    """(2,) * k: P(X = 1) for each state of k causes, without subtraction."""
    table = np.asarray(leak)
    for q in trigger[::-1]:
        table = np.stack([table, table + (1 - table) * q])
    return table


def arranged(factor: Factor, rank: np.ndarray) -> Factor:
    """The same factor over ``rank[v]`` in place of v, in ascending order."""
    places = [int(rank[v]) for v in factor.scope]
    order = sorted(range(len(places)), key=places.__getitem__)
    return Factor(tuple(places[i] for i in order), factor.table.transpose(order))


def product(factors: list[Factor], combine: Callable[..., Any] = np.multiply) -> Factor:
    """All factors combined, smallest tables first, so that few passes run over the large ones."""
    first, *rest = sorted(factors, key=lambda factor: factor.table.size)
    for factor in rest:
        scope = tuple(sorted({*first.scope, *factor.scope}))
        first = Factor(scope, combine(_spread(first, scope), _spread(factor, scope)))
    return first


def summed_to(factor: Factor, scope: tuple[int, ...]) -> np.ndarray:
    """Table over ``scope``: summed over the variables that it lacks, spread over those that the factor lacks."""
    axes = tuple(i for i, v in enumerate(factor.scope) if v not in scope)
    kept = Factor(tuple(v for v in factor.scope if v in scope), factor.table.sum(axis=axes))
    return np.broadcast_to(_spread(kept, scope), (2,) * len(scope))


def _spread(factor: Factor, scope: tuple[int, ...]) -> np.ndarray:
    own = set(factor.scope)
    return factor.table.reshape([2 if v in own else 1 for v in scope])
