"""A share of items with an exact interval, which is not empty when none or all of them count."""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest

from ..errors import EvaluationError
from .bootstrap import Interval


def proportion(hits: np.ndarray) -> Interval:
    """Share of True with the 95 % interval of Clopper and Pearson (1934).

    Args:
        hits: shape (N,), bool, one independent item each.

    Raises:
        EvaluationError: there is no item.
    """
    if len(hits) == 0:
        raise EvaluationError("a share of no items has no value")
    count = int(np.count_nonzero(hits))
    interval = binomtest(count, len(hits)).proportion_ci(0.95, method="exact")
    return Interval(count / len(hits), float(interval.low), float(interval.high), len(hits))
