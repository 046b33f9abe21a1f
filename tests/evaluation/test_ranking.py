from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from hub_models.errors import EvaluationError
from hub_models.evaluation.ranking import auroc, share_above, spearman

# Few distinct values, so that ties are common.
values = st.lists(st.integers(0, 5), min_size=4, max_size=40)


def pairwise_auroc(uncertainty: np.ndarray, failed: np.ndarray) -> float:
    wins = [(b > g) + 0.5 * (b == g) for b in uncertainty[failed] for g in uncertainty[~failed]]
    return float(np.mean(wins))


@given(values, st.randoms(use_true_random=False))
def test_auroc_equals_counting_all_pairs_and_scikit_learn(scores: list[int], random) -> None:
    uncertainty = np.array(scores, dtype=float)
    failed = np.array([random.random() < 0.5 for _ in scores])
    failed[:2] = True, False
    expected = pairwise_auroc(uncertainty, failed)
    assert auroc(uncertainty, failed) == pytest.approx(expected)
    assert expected == pytest.approx(roc_auc_score(failed, uncertainty))


@given(values)
def test_auroc_depends_on_order_alone(scores: list[int]) -> None:
    uncertainty = np.array(scores, dtype=float)
    failed = np.arange(len(scores)) % 2 == 0
    assert auroc(np.exp(uncertainty), failed) == pytest.approx(auroc(uncertainty, failed))
    assert auroc(-uncertainty, failed) == pytest.approx(1 - auroc(uncertainty, failed))


def test_auroc_extremes() -> None:
    failed = np.array([True, True, False, False])
    assert auroc(np.array([3.0, 2.0, 1.0, 0.0]), failed) == 1
    assert auroc(np.array([0.0, 1.0, 2.0, 3.0]), failed) == 0
    assert auroc(np.zeros(4), failed) == 0.5


@pytest.mark.parametrize("failed", [np.zeros(3, bool), np.ones(3, bool)])
def test_auroc_of_one_kind_has_no_value(failed: np.ndarray) -> None:
    with pytest.raises(EvaluationError, match="both kinds"):
        auroc(np.arange(3.0), failed)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_is_refused(bad: float) -> None:
    broken = np.array([0.0, bad, 1.0])
    with pytest.raises(EvaluationError, match="1 of 3"):
        auroc(broken, np.array([True, False, True]))
    with pytest.raises(EvaluationError):
        spearman(broken, np.arange(3.0))
    with pytest.raises(EvaluationError):
        share_above(broken, np.arange(3.0))


@given(values)
def test_spearman_equals_scipy_with_averaged_ties(scores: list[int]) -> None:
    left = np.array(scores, dtype=float)
    right = np.sin(np.arange(len(scores)) * 3.7).round(1)
    if left.std() and right.std():
        assert spearman(left, right) == pytest.approx(spearmanr(left, right).statistic)


def test_spearman_of_a_constant_is_nan() -> None:
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))


def test_share_above_counts_strictly_larger() -> None:
    assert share_above(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.0, 5.0, 0.0])) == 0.5
