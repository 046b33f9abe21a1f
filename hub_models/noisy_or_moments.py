"""What is kept of weighted samples: sums, from which estimates, intervals and diagnostics follow. Published code."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_MOST_TAIL = 20_000
_NORMAL_95 = 1.959964


@dataclass(eq=False)
class Moments:
    """Sums over weighted samples of n failures; weights are divided by exp(``log_shift``).

    Attributes:
        count: samples drawn.
        weight, square: sum of weights, and of their squares.
        present, present_square: (n,) the same over the samples in which a failure is present.
        tail: the largest log-weights, not shifted, for the Pareto diagnostic.
    """

    log_shift: float
    count: int
    weight: float
    square: float
    present: np.ndarray
    present_square: np.ndarray
    tail: np.ndarray

    @classmethod
    def of(cls, states: np.ndarray, log_weight: np.ndarray, log_shift: float) -> Moments:
        """Of drawn samples: (n, S) and (S,)."""
        weight = np.exp(log_weight - log_shift)
        return cls.of_sums(log_weight, log_shift, states @ weight, states @ weight**2)

    @classmethod
    def of_sums(
        cls, log_weight: np.ndarray, log_shift: float, present: np.ndarray, present_square: np.ndarray
    ) -> Moments:
        """Of log-weights (S,) and the sums over present failures."""
        weight = np.exp(log_weight - log_shift)
        total, square = float(weight.sum()), float(weight @ weight)
        return cls(log_shift, len(weight), total, square, present, present_square, _largest(log_weight))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.log_shift,
            self.count + other.count,
            self.weight + other.weight,
            self.square + other.square,
            self.present + other.present,
            self.present_square + other.present_square,
            _largest(np.concatenate([self.tail, other.tail])),
        )

    @property
    def effective(self) -> float:
        """Effective sample size (Kish, 1965), (sum w)^2 / sum w^2; 0 if every sample missed the evidence."""
        return self.weight**2 / self.square if self.square > 0 else 0.0

    @property
    def log_evidence(self) -> float:
        """Estimate of log P(evidence)."""
        return math.log(self.weight / self.count) + self.log_shift if self.weight > 0 else -math.inf

    @property
    def probability(self) -> np.ndarray:
        """(n,) estimates of P(X_i = 1 | evidence)."""
        return np.clip(self.present / max(self.weight, 1e-300), 0.0, 1.0)

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """95 % intervals (n,), (n,): Wilson's (1927) with each failure's own effective sample size.

        Unlike mean +- 2 standard errors these do not shrink to a point where a failure was met in no sample.
        """
        p = self.probability
        variance = (self.present_square * (1 - 2 * p) + p**2 * self.square) / max(self.weight, 1e-300) ** 2
        spread = p * (1 - p)
        clear = (spread > 1e-9) & (variance > spread * 1e-12)
        own = np.divide(spread, variance, out=np.full(len(p), np.inf), where=clear)
        size = np.minimum(own, self.effective) if self.effective > 0 else np.full(len(p), 1e-9)
        z2 = _NORMAL_95**2
        middle = (p + z2 / (2 * size)) / (1 + z2 / size)
        half = _NORMAL_95 * np.sqrt(spread / size + z2 / (4 * size**2)) / (1 + z2 / size)
        return np.clip(middle - half, 0.0, p), np.clip(middle + half, p, 1.0)

    @property
    def pareto_k(self) -> float:
        """Shape of the largest weights (Vehtari et al., 2024): above 0.7 the estimates may be far off.

        Generalised Pareto fit of Zhang and Stephens (2009) to the 3 sqrt(count) largest weights.
        """
        size = min(int(3 * math.sqrt(self.count)), self.count // 5, len(self.tail) - 1)
        top = np.sort(self.tail)[-size - 1 :]
        if size < 5 or not np.isfinite(top).all():
            return math.nan
        excess = np.exp(top - top[-1])
        excess = excess[1:] - excess[0]
        # The same explanation has nearly the same weight again and again. What exceeds the threshold by less than
        # a hundredth of a mean weight cannot matter, but looks to the fit as if the rest were outliers.
        mean = self.weight / self.count * math.exp(self.log_shift - top[-1])
        excess = excess[excess > 0.01 * mean] - 0.01 * mean
        return _pareto_shape(excess) if len(excess) >= 5 else 0.0


def _largest(log_weight: np.ndarray) -> np.ndarray:
    if len(log_weight) <= _MOST_TAIL:
        return log_weight
    return np.partition(log_weight, -_MOST_TAIL)[-_MOST_TAIL:]


def _pareto_shape(excess: np.ndarray) -> float:
    """Zhang and Stephens' estimate with the weak prior of Vehtari et al.; ``excess`` (m,) ascending, above 0."""
    m = len(excess)
    grid = 30 + int(math.sqrt(m))
    quarter = max(float(excess[int(m / 4 + 0.5) - 1]), 1e-300)
    steps = np.arange(1, grid + 1)
    theta = 1 / excess[-1] + (1 - np.sqrt(grid / (steps - 0.5))) / (3 * quarter)
    shapes = np.array([np.log1p(-t * excess).mean() for t in theta])
    with np.errstate(divide="ignore", invalid="ignore"):
        fit = m * (np.log(-theta / shapes) - shapes - 1)
    fit = np.where(np.isfinite(fit), fit, -np.inf)
    weight = np.exp(fit - fit.max())
    best = float((theta * weight).sum() / weight.sum())
    shape = float(np.log1p(-best * excess).mean())
    return (m * shape + 10 * 0.5) / (m + 10)
