"""Certified bounds on how often the stated causes alone bring about each failure.

Failure i with causes j and leak l has, in Diez's meaning, P(X_i = 1) = 1 - (1 - l) E[prod_j (1 - q_j X_j)], so its
causes alone imply I = 1 - E[prod_j (1 - q_j X_j)], and a stated occurrence below I would need a negative leak. (In
Henrion's meaning the same holds with w for q: at leak 0 the two agree.) I depends on the joint distribution of the
causes, of which these bounds need only pairs:

- upper: I <= 1 - prod_j (1 - q_j m_j), since failures of a noisy-OR network are positively associated (Harris 1960;
  every failure is an increasing function of independent leaks and triggers);
- lower, with a_j = q_j m_j and b_jk >= P(j and k both trigger): the largest of max_j a_j, of the sums of Bonferroni
  over the first causes, and of de Caen (1997), sum_j a_j^2 / (a_j + sum_{k != j} b_jk);
- pairs: for i after k, P(X_i, X_k) <= l_i m_k + sum_j q_j P(X_j, X_k), the union bound over the reasons for i, whose
  own chances do not depend on X_k. For rare failures little is lost.

The derivation is ours (in the spirit of Kirchhof et al. 2020, whose test is not published). A failure that is stated
too rare is followed further with its implied occurrence, so that one wrong number is not blamed on what comes after.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .statements import Statements

#: Equal to rounding: a repaired number stands exactly on the bound.
ROUNDING = 1e-9
#: The pairs of more failures are bounded by the rarer one, to spare memory (n^2 numbers).
_MOST_PAIRED = 5_000


@dataclass(frozen=True, eq=False)
class Certificate:
    """Of each failure; all of shape (n,).

    Attributes:
        lower, upper: of what its causes alone imply, I.
        marginal_low, marginal_high: of its occurrence once a too small one is raised to I.
        inconsistent: certainly stated too rare.
        consistent: certainly not (also where nothing is stated).
    """

    lower: np.ndarray
    upper: np.ndarray
    marginal_low: np.ndarray
    marginal_high: np.ndarray
    inconsistent: np.ndarray
    consistent: np.ndarray

    @property
    def undecided(self) -> np.ndarray:
        """What needs a closer look."""
        return ~(self.inconsistent | self.consistent)


def certify(statements: Statements) -> Certificate:
    """Bounds for every failure, in topological order; O(edges * failures).

    Args:
        statements: in Diez's meaning (see `leaks.as_diez`).
    """
    n = len(statements.names)
    first = statements.first
    stated = statements.occurrence
    lower, upper, low, high = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    pairs = np.zeros((n, n)) if n <= _MOST_PAIRED else None
    for i in range(n):
        edges = slice(first[i], first[i + 1])
        causes, q = statements.cause[edges], statements.trigger[edges]
        if len(causes):
            joint = _joint(causes, high, pairs)
            lower[i] = _union_lower(q * low[causes], np.outer(q, q) * joint)
            upper[i] = max(-np.expm1(np.log1p(-np.minimum(q * high[causes], 1 - 1e-16)).sum()), lower[i])
        known = not np.isnan(stated[i])
        low[i] = max(stated[i], lower[i]) if known else lower[i]
        high[i] = max(stated[i], upper[i]) if known else upper[i]
        if pairs is not None:
            leak = _largest_leak(stated[i], lower[i]) if known else 0.0
            row = leak * high[:i] + q @ pairs[causes, :i]
            pairs[i, :i] = pairs[:i, i] = np.minimum(row, np.minimum(high[:i], high[i]))
            pairs[i, i] = high[i]
    too_rare = stated < lower * (1 - ROUNDING)  # False where nothing is stated
    return Certificate(lower, upper, low, high, too_rare, ~(stated < upper * (1 - ROUNDING)))


def _joint(causes: np.ndarray, high: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
    if pairs is None:
        return np.minimum.outer(high[causes], high[causes])
    return pairs[np.ix_(causes, causes)]


def _union_lower(single: np.ndarray, both: np.ndarray) -> float:
    """Of P(some event), from lower bounds of P(event), shape (k,), and upper ones of P(both), shape (k, k)."""
    if len(single) == 1:
        return float(single[0])
    order = np.argsort(-single)
    single, both = single[order], both[np.ix_(order, order)]
    bonferroni = np.cumsum(single - np.tril(both, -1).sum(axis=1)).max()
    with np.errstate(invalid="ignore"):
        de_caen = np.nansum(single**2 / (single + both.sum(axis=1) - np.diagonal(both)))
    return float(max(single[0], bonferroni, de_caen))


def _largest_leak(stated: float, implied: float) -> float:
    """What the causes leave over."""
    return max(0.0, (stated - implied) / (1 - implied)) if implied < 1 else 0.0
