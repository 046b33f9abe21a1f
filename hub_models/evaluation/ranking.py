"""Rank metrics: how well an uncertainty orders images. Higher uncertainty must mean worse."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from ..errors import EvaluationError


def auroc(uncertainty: np.ndarray, failed: np.ndarray) -> float:
    """Probability that a failed item is more uncertain than one that did not fail; ties count half.

    Args:
        uncertainty: (N,), finite.
        failed: (N,) bool.

    Raises:
        EvaluationError: NaN or infinity in ``uncertainty``, or only one kind of item.
    """
    failed = np.asarray(failed, dtype=bool)
    ranks = rankdata(_finite(uncertainty))
    bad, good = int(failed.sum()), int((~failed).sum())
    if not bad or not good:
        raise EvaluationError(f"AUROC needs items of both kinds, got {bad} failed of {bad + good}")
    return float((ranks[failed].sum() - bad * (bad + 1) / 2) / (bad * good))


def spearman(left: np.ndarray, right: np.ndarray) -> float:
    """Rank correlation with averaged ties; NaN where one side is constant (no order exists)."""
    left, right = rankdata(_finite(left)), rankdata(_finite(right))
    if left.std() == 0 or right.std() == 0:
        return float("nan")
    return float(np.corrcoef(left, right)[0, 1])


def share_above(lower: np.ndarray, higher: np.ndarray) -> float:
    """The crop test: share of images whose crop (``higher``) is strictly more uncertain than the whole."""
    return float(np.mean(_finite(higher) > _finite(lower)))


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise EvaluationError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} uncertainties are NaN or infinite"
        )
    return values
