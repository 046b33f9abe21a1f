from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.image.fid import FrechetInceptionDistance
from vendi_score import vendi

from hub_models.errors import EvaluationError
from hub_models.evaluation.sample_quality import (
    METRICS,
    frechet_distance,
    quality_intervals,
    sample_quality,
    vendi_score,
)


def features(seed: int, count: int = 40, width: int = 6, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, width))


def oracle(real: np.ndarray, generated: np.ndarray, k: int) -> dict[str, float]:
    """Precision and the rest, one pair of samples after the other, as the papers define them."""

    def reach(points: np.ndarray, i: int) -> float:
        others = [np.linalg.norm(points[i] - points[j]) for j in range(len(points)) if j != i]
        return sorted(others)[k - 1]

    def holds(points: np.ndarray, i: int, sample: np.ndarray) -> bool:
        return bool(np.linalg.norm(points[i] - sample) <= reach(points, i))

    n, m = len(real), len(generated)
    return {
        "precision": np.mean([any(holds(real, i, generated[j]) for i in range(n)) for j in range(m)]),
        "recall": np.mean([any(holds(generated, j, real[i]) for j in range(m)) for i in range(n)]),
        "density": sum(holds(real, i, generated[j]) for i in range(n) for j in range(m)) / (k * m),
        "coverage": np.mean([any(holds(real, i, generated[j]) for j in range(m)) for i in range(n)]),
    }


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.floats(0, 2))
def test_manifold_metrics_equal_brute_force(seed, k, shift):
    real, generated = features(seed, 14, 3), features(seed + 1, 11, 3, shift)
    quality = sample_quality(real, generated, k)
    for name, value in oracle(real, generated, k).items():
        assert getattr(quality, name) == pytest.approx(value), name


def test_same_distribution_and_far_away():
    near = sample_quality(features(0, 300), features(1, 300))
    assert min(near.precision, near.recall, near.coverage) > 0.9
    assert near.density == pytest.approx(1, abs=0.15)
    far = sample_quality(features(0), features(1, shift=50))
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)
    assert far.frechet > near.frechet


def test_collapsed_samples_are_precise_but_recall_nothing():
    real = features(0, 100)
    collapsed = sample_quality(real, real[:1] + features(1, 100) * 1e-6)
    assert collapsed.precision == 1
    assert collapsed.recall < 0.05
    assert collapsed.vendi == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shape", [(30, 6), (6, 30)])
def test_vendi_equals_the_package_and_the_definition(shape):
    data = features(2, *shape)
    unit = data / np.linalg.norm(data, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(unit @ unit.T / len(unit))
    shares = shares[shares > 1e-12]
    assert vendi_score(data) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert vendi_score(data) == pytest.approx(float(vendi.score_dual(data)))


def test_vendi_counts_different_samples():
    assert vendi_score(np.repeat(np.eye(5), 3, axis=0)) == pytest.approx(5)
    assert vendi_score(np.ones((7, 3))) == pytest.approx(1)


class Identity(torch.nn.Module):
    num_features = 6

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return given


def test_frechet_equals_torchmetrics_and_the_matrix_root():
    real, generated = features(3, 60), features(4, 50, shift=0.5)
    metric = FrechetInceptionDistance(feature=Identity()).set_dtype(torch.float64)
    for data, is_real in ((real, True), (generated, False)):
        metric.update(torch.from_numpy(data), real=is_real)
    assert frechet_distance(real, generated) == pytest.approx(metric.compute().item(), rel=1e-6)
    one, other = np.cov(real.T), np.cov(generated.T)
    shift = real.mean(0) - generated.mean(0)
    root = np.trace(scipy.linalg.sqrtm(one @ other)).real
    assert frechet_distance(real, generated) == pytest.approx(
        shift @ shift + np.trace(one) + np.trace(other) - 2 * root
    )


def test_frechet_of_fewer_samples_than_features():
    real = features(5, 10, 40)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(real, real + 1) == pytest.approx(40)


def test_intervals_hold_the_value_and_shrink_with_more_samples():
    def width(count: int) -> float:
        pairs = [(features(0, count), features(1, count)), (features(2, count), features(3, count))]
        found = quality_intervals(pairs, [np.arange(count) // 5] * 2)
        assert set(found) == set(METRICS)
        for interval in found.values():
            assert interval.low <= interval.value <= interval.high
            assert interval.n == 2 * count
        return found["recall"].high - found["recall"].low

    assert width(200) < width(40)


def test_interval_is_no_narrower_than_the_spread_of_fresh_samples():
    found = quality_intervals([(features(0, 100), features(1, 100))], [np.arange(100)])
    fresh = [sample_quality(features(seed, 100), features(seed + 1, 100)) for seed in range(100, 200, 2)]
    for name in METRICS:
        spread = np.std([getattr(quality, name) for quality in fresh])
        assert 0.6 < (found[name].high - found[name].low) / 3.92 / spread < 2.5, name


@pytest.mark.parametrize(
    ("real", "generated", "named"),
    [
        (features(0, 5), features(1), "real"),
        (features(0), features(1, 4), "generated"),
        (features(0), features(1, width=3), "columns"),
        (features(0), np.full((40, 6), np.nan), "finite"),
        (features(0)[0], features(1), "real"),
    ],
)
def test_bad_features_are_named(real, generated, named):
    with pytest.raises(EvaluationError, match=named):
        sample_quality(real, generated)


def test_one_group_has_no_interval():
    with pytest.raises(EvaluationError, match="group"):
        quality_intervals([(features(0), features(1))], [np.zeros(40)])
