"""When do the numbers about one failure fit together? Two conditions, with their gradients, for the repairs.

Both are functions of log-odds, for rare failures nearly convex: sums of exponentials against a single one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .leaks import diez_trigger, henrion_leak
from .ratings import SMALLEST
from .statements import Statements


@dataclass(frozen=True, eq=False)
class TooRare:
    """A failure has to be as frequent as its causes imply, taken as independent (see `certificates`).

    Attributes:
        effect: position of the failure.
        edges: shape (k,), positions of the relations that lead to it.
        causes: shape (k,), positions of its causes.
    """

    effect: int
    edges: np.ndarray
    causes: np.ndarray

    def excess(self, occurrence: np.ndarray, trigger: np.ndarray) -> np.ndarray:
        """Log of implied over stated, in -log(1 - p): > 0 where violated.

        Args:
            occurrence: shape (..., n).
            trigger: shape (..., m).

        Returns:
            shape (...).
        """
        implied = _hazard(trigger[..., self.edges] * occurrence[..., self.causes]).sum(axis=-1)
        return np.log(implied + 1e-300) - np.log(_hazard(occurrence[..., self.effect]) + 1e-300)

    def gradient(self, occurrence: np.ndarray, trigger: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """With respect to the log-odds of all occurrences, shape (n,), and of all triggers, shape (m,)."""
        q, o, stated = trigger[self.edges], occurrence[self.causes], occurrence[self.effect]
        implied = _hazard(q * o).sum() + 1e-300
        by_occurrence, by_trigger = np.zeros_like(occurrence), np.zeros_like(trigger)
        by_trigger[self.edges] = o / (1 - q * o) * q * (1 - q) / implied
        by_occurrence[self.causes] = q / (1 - q * o) * o * (1 - o) / implied
        by_occurrence[self.effect] = -stated / (_hazard(stated) + 1e-300)
        return by_occurrence, by_trigger


@dataclass(frozen=True, eq=False)
class WeakerThanLeak:
    """In Henrion's meaning w includes unnamed causes, so it cannot be smaller than their share, the leak.

    Attributes:
        edge: position of the relation, among all.
        effect, edges, causes: as in `TooRare`, of the failure that it leads to.
    """

    edge: int
    effect: int
    edges: np.ndarray
    causes: np.ndarray

    def excess(self, occurrence: np.ndarray, trigger: np.ndarray) -> np.ndarray:
        """The leak over w, less 1, shape (...): > 0 where violated. (A leak near 0 has no useful logarithm.)"""
        return self._leak(occurrence, trigger) / (trigger[..., self.edge] + 1e-300) - 1

    def gradient(self, occurrence: np.ndarray, trigger: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `TooRare.gradient`; the leak is differentiated implicitly."""
        w, o, stated = trigger[self.edges], occurrence[self.causes], occurrence[self.effect]
        leak = float(self._leak(occurrence, trigger))
        q = diez_trigger(w, np.full_like(w, leak))
        kept = (q > 0) / (1 - q * o)
        slope = -1 / (1 - leak) + (kept * o * (1 - w)).sum() / (1 - leak) ** 2
        scale = -1 / (slope * (trigger[self.edge] + 1e-300))
        by_occurrence, by_trigger = np.zeros_like(occurrence), np.zeros_like(trigger)
        by_trigger[self.edges] = -scale * kept * o / (1 - leak) * w * (1 - w)
        by_occurrence[self.causes] = -scale * kept * q * o * (1 - o)
        by_occurrence[self.effect] = scale * stated
        by_trigger[self.edge] -= leak / (trigger[self.edge] + 1e-300) * (1 - trigger[self.edge])
        return by_occurrence, by_trigger

    def _leak(self, occurrence: np.ndarray, trigger: np.ndarray) -> np.ndarray:
        stated = occurrence[..., self.effect, None]
        into = np.zeros(len(self.edges), dtype=np.int64)
        return henrion_leak(stated, into, trigger[..., self.edges], occurrence[..., self.causes])[..., 0]


Constraint = TooRare | WeakerThanLeak


def too_rare(statements: Statements, effect: int) -> TooRare:
    """The condition on one failure."""
    edges = np.arange(statements.first[effect], statements.first[effect + 1])
    return TooRare(effect, edges, statements.cause[edges])


def weaker_than_leak(statements: Statements, edge: int) -> WeakerThanLeak:
    """The condition on one relation."""
    into = too_rare(statements, int(statements.effect[edge]))
    return WeakerThanLeak(edge, into.effect, into.edges, into.causes)


def filled(statements: Statements, occurrence: np.ndarray, trigger: np.ndarray) -> np.ndarray:
    """Occurrences, shape (..., n), with what the causes imply where nothing is stated."""
    occurrence = occurrence.copy()
    first = statements.first
    for i in np.flatnonzero(np.isnan(statements.occurrence)):
        edges = slice(first[i], first[i + 1])
        silent = (1 - trigger[..., edges] * occurrence[..., statements.cause[edges]]).prod(axis=-1)
        occurrence[..., i] = 1 - silent
    return occurrence


def _hazard(probability: np.ndarray) -> np.ndarray:
    return -np.log1p(-np.minimum(probability, 1 - SMALLEST))
