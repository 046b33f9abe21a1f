from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from hub_models.reference_distribution import INSIDE_SHARE, NUM_QUANTILES, ReferenceDistribution

KNOT = 1 / (NUM_QUANTILES - 1)


def reference_of(values: np.ndarray) -> ReferenceDistribution:
    """A reference whose default read-out has these values."""
    reference = ReferenceDistribution([], feature_width=2)
    reference.fit_quantiles({}, torch.from_numpy(np.asarray(values)))
    return reference


def percentile_of_score(values: np.ndarray, score: float) -> float:
    """Share below plus half of the share that is equal (scipy.stats.percentileofscore, kind "mean")."""
    return float((values < score).mean() + (values == score).mean() / 2)


@pytest.mark.parametrize("size", [2, 10, 513, 1000, 5000])
def test_percentile_within_one_knot_of_the_brute_force_rank(size: int) -> None:
    values = np.random.default_rng(size).lognormal(size=size).astype(np.float32)
    scores = np.concatenate([values[:200], np.random.default_rng(1).lognormal(size=200).astype(np.float32)])
    found = reference_of(values).percentile(torch.from_numpy(scores)).numpy()
    expected = [percentile_of_score(values, score) for score in scores]
    # Between two reference images any value from the rank of one to the rank of the other is right.
    np.testing.assert_allclose(found, expected, atol=KNOT + 1 / size)


def test_ties_get_the_middle_of_their_ranks() -> None:
    values = np.repeat([1.0, 2.0, 5.0], [500, 300, 200]).astype(np.float32)
    found = reference_of(values).percentile(torch.tensor([1.0, 2.0, 5.0, 1.5, 3.0]))
    np.testing.assert_allclose(found, [0.25, 0.65, 0.9, 0.5, 0.8], atol=1.5 * KNOT)


def test_a_constant_reference_has_a_middle_and_two_ends() -> None:
    found = reference_of(np.full(10, 3.0, dtype=np.float32)).percentile(torch.tensor([2.0, 3.0, 4.0]))
    assert found.tolist() == [0.0, 0.5, 1.0]


def test_the_ends_are_0_and_1_and_what_lies_beyond_stays_there() -> None:
    reference = reference_of(np.linspace(1, 2, 100, dtype=np.float32))
    found = reference.percentile(torch.tensor([-torch.inf, 0.0, 1.0, 2.0, 99.0, torch.inf]))
    assert found.tolist() == [0, 0, 0, 1, 1, 1]


def test_nothing_stored_gives_nan() -> None:
    reference = ReferenceDistribution(["error"], feature_width=2)
    values = torch.tensor([0.0, 1.0])
    assert reference.percentile(values).isnan().all()
    assert reference.percentile(values, "error").isnan().all()
    assert reference.distance(torch.zeros(2, 2)).isnan().all()


def test_nan_in_gives_nan_out() -> None:
    found = reference_of(np.arange(10, dtype=np.float32)).percentile(torch.tensor([torch.nan, 4.5]))
    assert found.isnan().tolist() == [True, False]


REFERENCES = hnp.arrays(
    np.float64, st.integers(2, 60), elements=st.floats(-1e3, 1e3) | st.sampled_from([0.0, 1.0, 2.0])
)


@settings(deadline=None)
@given(REFERENCES, hnp.arrays(np.float64, 30, elements=st.floats(-2e3, 2e3)))
def test_percentile_never_falls_and_stays_between_0_and_1(values: np.ndarray, scores: np.ndarray) -> None:
    scores = np.sort(np.concatenate([scores, values]))
    found = reference_of(values).percentile(torch.from_numpy(scores))
    assert ((found >= 0) & (found <= 1)).all()
    assert (found.diff() >= -1e-9).all()


@settings(deadline=None)
@given(REFERENCES)
def test_percentile_of_a_reference_image_is_its_rank(values: np.ndarray) -> None:
    values = values.astype(np.float32)  # as stored, so that ties stay ties
    found = reference_of(values).percentile(torch.from_numpy(values)).numpy()
    expected = [percentile_of_score(values, value) for value in values]
    np.testing.assert_allclose(found, expected, atol=KNOT + 1 / len(values))


def test_each_read_out_has_its_own_row_and_the_default_the_last() -> None:
    reference = ReferenceDistribution(["error", "transfer"], feature_width=2)
    rows = {"error": torch.linspace(0, 1, 50), "transfer": torch.linspace(10, 20, 50)}
    reference.fit_quantiles(rows, default=torch.linspace(-5, 5, 50))
    for read_out, middle in (("error", 0.5), ("transfer", 15.0), (None, 0.0)):
        assert reference.percentile(torch.tensor([middle]), read_out).item() == pytest.approx(0.5, abs=1e-6)


def test_standardise_gives_log_uncertainty_zero_mean_and_unit_spread() -> None:
    reference = ReferenceDistribution(["constant", "error"], feature_width=2)
    values = torch.rand(100, dtype=torch.float64) + 0.01
    reference.double().fit_read_outs({"error": values, "constant": torch.full((100,), 7.0)})
    logs = np.log(values.numpy())
    np.testing.assert_allclose(
        reference.standardise(values, "error"), (logs - logs.mean()) / logs.std(), rtol=1e-9
    )
    assert reference.standardise(torch.tensor([7.0]), "constant").item() == pytest.approx(0, abs=1e-6)


def test_distance_is_1_at_the_99_percent_quantile() -> None:
    torch.manual_seed(0)
    stages = torch.randn(2000, 8) * torch.arange(1, 9) + 3
    stages[:, 0] = 5.0  # a constant column says nothing
    reference = ReferenceDistribution([], feature_width=8)
    reference.fit_features(stages)
    distance = reference.distance(stages)
    assert (distance <= 1).float().mean().item() == pytest.approx(INSIDE_SHARE, abs=1e-3)
    standard = (stages - stages.mean(0)) / stages.std(0, correction=0).clamp_min(1)
    expected = standard[:, 1:].square().sum(1).div(8).sqrt()
    torch.testing.assert_close(distance / distance.max(), expected / expected.max(), rtol=1e-3, atol=1e-4)
    assert (reference.distance(stages[:10] + 100) > 1).all()


def test_identical_reference_images_give_a_finite_distance() -> None:
    reference = ReferenceDistribution([], feature_width=2)
    reference.fit_features(torch.ones(5, 2))
    distance: Tensor = reference.distance(torch.tensor([[1.0, 1.0], [2.0, 1.0]]))
    assert distance[0] == 0
    assert distance[1] > 1


def test_everything_is_stored_as_persistent_buffers() -> None:
    reference = ReferenceDistribution(["error"], feature_width=4)
    assert {name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()} == {
        "location": (1,),
        "scale": (1,),
        "quantiles": (2, NUM_QUANTILES),
        "feature_mean": (4,),
        "feature_scale": (4,),
        "distance_limit": (1,),
    }
