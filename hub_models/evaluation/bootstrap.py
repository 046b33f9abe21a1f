"""Percentile bootstrap over images, paired where two uncertainties are compared."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import EvaluationError

RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval and the number of items behind it."""

    value: float
    low: float
    high: float
    n: int


def bootstrap(
    metric: Callable[..., float], *arrays: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """95 % percentile interval of ``metric(*arrays)``, items drawn with replacement.

    Every array has the items along its first axis and is drawn with the same indices, so a metric that is a
    difference of two uncertainties gives the paired interval. Draws on which the metric has no value (one kind of
    item only) are left out.
    """
    value = metric(*arrays)
    low, high = np.nanpercentile(_draws(metric, arrays, seed, resamples), [2.5, 97.5])
    return Interval(value, float(low), float(high), len(arrays[0]))


def bootstrap_mean(
    metric: Callable[..., float],
    groups: Sequence[tuple[np.ndarray, ...]],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Mean of a metric over independent groups (data sets), each resampled by itself."""
    parts = [_draws(metric, arrays, seed + number, resamples) for number, arrays in enumerate(groups)]
    value = float(np.mean([metric(*arrays) for arrays in groups]))
    low, high = np.nanpercentile(np.mean(parts, axis=0), [2.5, 97.5])
    return Interval(value, float(low), float(high), sum(len(arrays[0]) for arrays in groups))


def _draws(
    metric: Callable[..., float], arrays: Sequence[np.ndarray], seed: int, resamples: int
) -> np.ndarray:
    n = len(arrays[0])
    if any(len(array) != n for array in arrays):
        raise EvaluationError(f"arrays of lengths {[len(a) for a in arrays]} do not describe the same items")
    generator = np.random.default_rng(seed)
    draws = np.full(resamples, np.nan)
    for draw in range(resamples):
        chosen = generator.integers(0, n, n)
        with contextlib.suppress(EvaluationError):
            draws[draw] = metric(*(array[chosen] for array in arrays))
    if np.isnan(draws).mean() > 0.5:
        raise EvaluationError(f"the metric has no value on most of {resamples} bootstrap draws of {n} items")
    return draws
