from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from torch import Tensor
from torch.nn.functional import normalize

from hub_models.credible_cap import CHUNK, cap_share, cosine_quantile
from hub_models.errors import DistributionError
from hub_models.von_mises_fisher import sample

DIMS = [2, 3, 4, 5, 10, 128, 512, 4096]
CONCENTRATIONS = [0.0, 1e-3, 0.3, 1.0, 7.0, 20.0, 100.0, 1e3, 1e4, 1e6]
LEVELS = [0.001, 0.5, 0.95, 0.999]


def double(values: object) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def probability(cosine: float, kappa: float, dim: int) -> float:
    """P(mu'z >= c) by Simpson's rule over 20,000 angles."""
    power = dim - 2
    total = power + math.sqrt(power**2 + 4 * kappa**2)
    mode = math.acos(min(1.0, 2 * kappa / total)) if total else math.pi / 2
    reach = 25 / math.sqrt(kappa + dim)
    low, high = max(0.0, mode - reach), min(math.pi, mode + reach)

    def integral(upper: float) -> float:
        angles = np.linspace(low, upper, 20_001)
        log = kappa * (np.cos(angles) - math.cos(mode))
        if power:
            log += power * (np.log(np.maximum(np.sin(angles), 1e-300)) - math.log(math.sin(mode)))
        return float(integrate.simpson(np.exp(log), x=angles))

    return integral(2 * math.asin(math.sqrt((1 - cosine) / 2))) / integral(high)


@pytest.mark.parametrize("dim", DIMS)
def test_the_cap_holds_what_was_promised(dim: int):
    for level in LEVELS:
        edges = cosine_quantile(double(CONCENTRATIONS), dim, level)
        for kappa, cosine in zip(CONCENTRATIONS, edges.tolist(), strict=True):
            # What a rounding of the cosine itself moves:
            slack = 1e-15 * (kappa + dim) / math.sqrt(max(1e-16, 1 - cosine))
            assert probability(cosine, kappa, dim) == pytest.approx(level, abs=1e-9 + slack), kappa


def test_three_dimensions_have_a_closed_form():
    kappa = double([1e-3, 0.3, 1.0, 20.0, 1e4, 1e6])
    for level in LEVELS:
        exact = 1 + torch.log1p(level * torch.expm1(-2 * kappa)) / kappa
        torch.testing.assert_close(cosine_quantile(kappa, 3, level), exact, rtol=0, atol=1e-14)


def test_the_uniform_distribution_has_caps_of_its_level():
    for dim in DIMS:
        for level in LEVELS:
            edge = cosine_quantile(double([0.0]), dim, level)
            assert cap_share(edge, dim).item() == pytest.approx(level, rel=1e-9)


@pytest.mark.parametrize("dim", [2, 4, 16])
def test_agrees_with_thirty_digits(dim: int):
    mpmath.mp.dps = 30
    for kappa in (0.5, 30.0):

        def density(angle: mpmath.mpf, kappa: float = kappa) -> mpmath.mpf:
            return mpmath.sin(angle) ** (dim - 2) * mpmath.exp(kappa * (mpmath.cos(angle) - 1))

        for level in (0.05, 0.95):
            edge = mpmath.acos(cosine_quantile(double(kappa), dim, level).item())
            inside = mpmath.quad(density, [0, edge / 2, edge])
            outside = mpmath.quad(density, [edge, (edge + mpmath.pi) / 2, mpmath.pi])
            assert float(inside / (inside + outside)) == pytest.approx(level, abs=1e-12)


@pytest.mark.parametrize("dim", [2, 3, 8, 256])
def test_draws_fall_into_the_cap_as_often_as_promised(dim: int):
    count = 20_000
    mean = normalize(
        torch.randn(3, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), dim=-1
    )
    kappa = double([0.5, 20.0, 2000.0])
    cosine = (sample(mean, kappa, count, torch.Generator().manual_seed(2)) * mean).sum(dim=-1)
    for level in (0.5, 0.9, 0.99):
        share = (cosine >= cosine_quantile(kappa, dim, level)).double().mean(dim=0)
        assert (share - level).abs().max() < 4.5 * math.sqrt(level * (1 - level) / count)


@settings(max_examples=40, deadline=None)
@given(
    dim=st.integers(2, 4096),
    kappa=st.floats(0, 1e6),
    levels=st.tuples(st.floats(1e-6, 1 - 1e-6), st.floats(1e-6, 1 - 1e-6)),
    more=st.floats(1, 100),
)
def test_caps_grow_with_the_level_and_shrink_with_the_concentration(dim, kappa, levels, more):
    small, large = cosine_quantile(double(kappa), dim, double(sorted(levels)))
    assert -1 <= large <= small <= 1
    tighter = cosine_quantile(double(kappa * more), dim, max(levels))
    assert tighter >= large - 1e-12
    assert 0 <= cap_share(small, dim) <= cap_share(large, dim) <= 1


def test_batches_broadcast_whatever_their_size():
    kappa, level = torch.rand(CHUNK + 3, 1) * 50, double([0.5, 0.9])
    edges = cosine_quantile(kappa, 8, level)
    assert edges.shape == (CHUNK + 3, 2)
    assert edges.dtype == torch.float64
    assert edges[-1, 1] == cosine_quantile(kappa[-1, 0], 8, 0.9)
    assert cosine_quantile(torch.ones(2, 0), 8, 0.9).shape == (2, 0)
    half = cosine_quantile(torch.ones(2, dtype=torch.float16), 8, 0.9)
    assert torch.equal(half, cosine_quantile(torch.ones(2), 8, 0.9))


@pytest.mark.parametrize("dim", [2, 3, 4, 9, 128, 4096])
def test_shares_agree_with_the_incomplete_beta_function(dim: int):
    mpmath.mp.dps = 30
    cosines = [-1, -0.999, -0.4, -1e-9, 0, 1e-9, 0.01, 0.3, 0.9, 1 - 1e-9, 1]
    for cosine, share in zip(cosines, cap_share(double(cosines), dim).tolist(), strict=True):
        c = mpmath.mpf(float(cosine))
        half = mpmath.betainc(mpmath.mpf(dim - 1) / 2, 0.5, 0, (1 - c) * (1 + c), regularized=True) / 2
        exact = float(half if c >= 0 else 1 - half)
        assert share == pytest.approx(exact, rel=1e-11, abs=1e-307), cosine


def test_shares_on_the_circle_and_the_globe_are_those_of_school():
    cosines = double(np.linspace(-1, 1, 41))
    torch.testing.assert_close(cap_share(cosines, 2), cosines.acos() / math.pi, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(cap_share(cosines, 3), (1 - cosines) / 2, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(cap_share(torch.tensor([-1.0, 0.0, 1.0]), 7), [1, 0.5, 0])


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 95, float("nan")])
def test_levels_outside_the_domain_are_refused(level: float):
    with pytest.raises(DistributionError, match="level must lie between 0 and 1"):
        cosine_quantile(torch.ones(2), 8, level)


@pytest.mark.parametrize("kappa", [-1.0, float("inf"), float("nan")])
def test_concentrations_outside_the_domain_are_refused(kappa: float):
    with pytest.raises(DistributionError, match="concentration"):
        cosine_quantile(torch.tensor([1.0, kappa]), 8, 0.9)


@pytest.mark.parametrize("cosine", [1.001, -2.0, float("nan")])
def test_cosines_outside_the_domain_are_refused(cosine: float):
    with pytest.raises(DistributionError, match="cosine"):
        cap_share(torch.tensor([0.0, cosine]), 8)


def test_one_dimension_is_refused():
    for refused in (lambda: cosine_quantile(torch.ones(2), 1, 0.9), lambda: cap_share(torch.ones(2), 1)):
        with pytest.raises(DistributionError, match="2 dimensions"):
            refused()
