from __future__ import annotations

import numpy as np
import pytest

from hub_models.errors import EvaluationError
from hub_models.evaluation.bootstrap import bootstrap, bootstrap_mean
from hub_models.evaluation.ranking import auroc


def mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def test_interval_of_a_mean_matches_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    interval = bootstrap(mean, values, resamples=4000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)
    assert interval.n == 400


def test_it_covers_the_truth_about_95_times_in_100() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        interval = bootstrap(mean, generator.normal(0, 1, 60), seed=trial, resamples=300)
        covered += interval.low <= 0 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_paired_draws_make_the_difference_of_equals_zero() -> None:
    values = np.random.default_rng(2).normal(size=100)
    interval = bootstrap(lambda a, b: mean(a) - mean(b), values, values.copy())
    assert (interval.low, interval.value, interval.high) == (0, 0, 0)


def test_same_seed_same_interval() -> None:
    values = np.random.default_rng(3).normal(size=50)
    assert bootstrap(mean, values, seed=5) == bootstrap(mean, values, seed=5)
    assert bootstrap(mean, values, seed=5) != bootstrap(mean, values, seed=6)


def test_draws_without_a_value_are_left_out_unless_they_are_most() -> None:
    scores = np.arange(12.0)
    rare = np.arange(12) == 11
    interval = bootstrap(auroc, scores, rare)  # about a third of the draws hold no failure
    assert interval.value == 1
    assert interval.low <= interval.high == 1
    with pytest.raises(EvaluationError, match="no value"):
        bootstrap(lambda v: auroc(v, np.ones(len(v), bool)) if len(np.unique(v)) < 12 else 0.0, scores)


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(EvaluationError, match="same items"):
        bootstrap(lambda a, b: mean(a) - mean(b[: len(a)]), np.zeros(3), np.zeros(4))


def test_mean_over_groups_resamples_each_by_itself() -> None:
    generator = np.random.default_rng(4)
    groups = [(generator.normal(0, 1, 300),), (generator.normal(1, 1, 500),)]
    interval = bootstrap_mean(mean, groups, resamples=4000)
    variance = sum(g[0].var() / len(g[0]) for g in groups) / 4
    assert interval.value == pytest.approx(np.mean([g[0].mean() for g in groups]))
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.1)
    assert interval.n == 800
