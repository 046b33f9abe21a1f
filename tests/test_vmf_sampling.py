from __future__ import annotations

import math

import pytest
import torch
from scipy import integrate, stats
from torch import Tensor
from torch.nn.functional import normalize

from hub_models import vmf_sampling
from hub_models.errors import DistributionError
from hub_models.vmf_flow import INTERPOLATION_POINTS, flow_factor
from hub_models.von_mises_fisher import mean_resultant_length, sample

DIMS = [2, 3, 4, 7, 16, 128, 512]
CONCENTRATIONS = [0.0, 1e-3, 0.8, 9.0, 12.0, 50.0, 1e4, 1e6]


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def directions(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return normalize(torch.randn(*shape, generator=seeded(12345), dtype=dtype), dim=-1)


def gaps(draws: Tensor, mean: Tensor) -> Tensor:
    """1 - cosine, with its digits where it is small."""
    return (draws - mean).double().square().sum(dim=-1) / 2


def gap_distribution(kappa: float, dim: int):
    """The distribution function of 1 - cosine, by integration of its density over the angle."""
    spread = 40 / math.sqrt(kappa + dim)
    mode = (
        math.acos(2 * kappa / (dim - 2 + math.sqrt((dim - 2) ** 2 + 4 * kappa**2))) if kappa else math.pi / 2
    )
    low, high = max(0.0, mode - spread), min(math.pi, mode + spread)
    angle = torch.linspace(low, high, 20001, dtype=torch.float64)
    log = kappa * (angle.cos() - math.cos(mode))
    if dim > 2:
        log = log + (dim - 2) * (angle.sin().clamp_min(1e-300).log() - math.log(math.sin(mode)))
    total = integrate.cumulative_simpson(log.exp().numpy(), x=angle.numpy(), initial=0)

    def cumulative(gap):
        theta = 2 * torch.as_tensor(gap).div(2).clamp(0, 1).sqrt().asin()
        position = ((theta - low) / (high - low) * 20000).clamp(0, 20000)
        left = position.floor().long().clamp_max(19999)
        table = torch.from_numpy(total / total[-1])
        return (table[left] + (position - left) * (table[left + 1] - table[left])).numpy()

    return cumulative


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", DIMS)
def test_cosines_follow_their_distribution(dim: int, dtype: torch.dtype):
    count = 4000
    mean = directions(len(CONCENTRATIONS), dim, dtype=dtype)
    kappa = torch.tensor(CONCENTRATIONS, dtype=dtype)
    draws = sample(mean, kappa, count, seeded())
    assert draws.shape == (count, len(CONCENTRATIONS), dim)
    assert draws.dtype == dtype
    assert (draws.norm(dim=-1) - 1).abs().max() < 20 * torch.finfo(dtype).eps
    gap = gaps(draws, mean)
    for column, k in enumerate(CONCENTRATIONS):
        result = stats.kstest(gap[:, column].numpy(), gap_distribution(k, dim))
        assert result.pvalue > 1e-4, (k, result)
        expected = 1 - mean_resultant_length(kappa[column].double(), dim)
        standard_error = gap[:, column].std() / count**0.5
        assert abs(gap[:, column].mean() - expected) < 4.5 * standard_error


@pytest.mark.parametrize("dim", [2, 3, 4, 7, 128])
def test_draws_are_symmetric_around_the_mean(dim: int):
    """The part orthogonal to the mean is a uniform direction: one coordinate of it has a known law."""
    mean = directions(1, dim)
    draws = sample(mean, torch.tensor([6.0], dtype=torch.float64), 4000, seeded(3))[:, 0]
    across = normalize(draws - (draws @ mean.mT) * mean, dim=-1)
    axis = normalize(torch.eye(dim, dtype=torch.float64)[0] - mean[0, 0] * mean[0], dim=-1)
    coordinate = across @ axis
    if dim == 2:
        assert abs((coordinate > 0).double().mean() - 0.5) < 4 * 0.5 / 4000**0.5
    else:
        half = (dim - 2) / 2
        assert stats.kstest(((coordinate + 1) / 2).numpy(), stats.beta(half, half).cdf).pvalue > 1e-3
    # and does not depend on the cosine, from whose Gaussian it comes
    assert abs(stats.spearmanr(coordinate, draws @ mean[0]).statistic) < 4 / 4000**0.5


def test_agrees_with_scipy():
    mean = directions(1, 5)
    ours = sample(mean, torch.tensor([8.0], dtype=torch.float64), 4000, seeded(5))[:, 0]
    theirs = torch.from_numpy(stats.vonmises_fisher(mean[0].numpy(), 8.0, seed=7).rvs(4000))
    for axis in directions(3, 5):
        assert stats.ks_2samp((ours @ axis).numpy(), (theirs @ axis).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 6, 40])
@pytest.mark.parametrize("dim", [2, 3, 5, 64, 512])
def test_flow_factor_is_the_implicit_derivative(dim: int, n: int):
    """c sin(theta) = (dF / d kappa) / p, by finite differences of the distribution function."""
    kappa = torch.tensor([0.5, 3.0, 40.0, 900.0], dtype=torch.float64)
    assert n <= INTERPOLATION_POINTS or n == 40  # both ways to compute it
    gap = gaps(sample(directions(4, dim), kappa, n, seeded()), directions(4, dim))
    factor = flow_factor(gap, kappa, dim)
    for column, k in enumerate(kappa.tolist()):
        step = 1e-3 * (k + 1)
        upper, lower, middle = (gap_distribution(k + s, dim) for s in (step, -step, 0.0))
        theta = 2 * (gap[:, column] / 2).sqrt().asin()
        width = 1e-3 / math.sqrt(k + dim)
        density = middle(1 - (theta + width).cos()) - middle(1 - (theta - width).cos())
        slope = (upper(gap[:, column]) - lower(gap[:, column])) / (2 * step)
        measured = (factor[:, column] * theta.sin()).numpy() * density / (2 * width)
        scale = max(abs(slope).max(), 1e-12)
        assert abs(measured - slope).max() < 5e-3 * scale


def test_interpolation_equals_integration():
    kappa = torch.tensor([1e-3, 3.0, 300.0, 1e6], dtype=torch.float64)
    for dim in (2, 3, 8, 128, 4096):
        mean = directions(4, dim)
        gap = gaps(sample(mean, kappa, 200, seeded()), mean)
        one_by_one = torch.cat([flow_factor(row.unsqueeze(0), kappa, dim) for row in gap[:50]])
        torch.testing.assert_close(flow_factor(gap, kappa, dim)[:50], one_by_one, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dim", [2, 3, 8, 128, 512])
def test_gradients_are_those_of_expectations(dim: int):
    """E[a'z] = A_D(kappa) a'mu: its derivatives in kappa and in the direction, known in closed form."""
    count, axis = 6000, directions(dim)
    raw = (directions(3, dim) * 1.7).requires_grad_()
    kappa = torch.tensor([0.3, 12.0, 400.0], dtype=torch.float64, requires_grad=True)
    expected = mean_resultant_length(kappa, dim) * (normalize(raw, dim=-1) @ axis)
    truth = torch.autograd.grad(expected.sum(), (raw, kappa))

    chunks = []
    for number in range(10):
        draws = sample(normalize(raw, dim=-1), kappa, count // 10, seeded(number))
        chunks.append(torch.autograd.grad((draws @ axis).mean(dim=0).sum(), (raw, kappa)))
    for measured, exact in zip(zip(*chunks, strict=True), truth, strict=True):
        stacked, few = torch.stack(measured)[..., :4], exact[..., :4]
        error = (stacked.mean(dim=0) - few).abs()
        assert (error < 6 * stacked.std(dim=0) / 10**0.5 + 1e-9).all()


def test_gradient_of_a_quadratic_expectation_against_finite_differences():
    """E[z_1^2] = mu_1^2 + (1 - D mu_1^2) A / kappa: nothing that the mean alone would tell."""
    dim, kappa = 6, torch.tensor([5.0], dtype=torch.float64, requires_grad=True)
    raw = directions(1, dim).requires_grad_()

    def closed_form(raw: Tensor, kappa: Tensor) -> Tensor:
        first = normalize(raw, dim=-1)[:, 0].square()
        return first + (1 - dim * first) * mean_resultant_length(kappa, dim) / kappa

    step = 1e-5
    slope = (closed_form(raw, kappa + step) - closed_form(raw, kappa - step)).item() / (2 * step)
    chunks = []
    for number in range(10):
        draws = sample(normalize(raw, dim=-1), kappa, 4000, seeded(number))
        chunks.append(torch.autograd.grad(draws[..., 0].square().mean(), (raw, kappa)))
    by_kappa = torch.cat([chunk[1] for chunk in chunks])
    assert abs(by_kappa.mean() - slope) < 5 * by_kappa.std() / 10**0.5
    (by_mean,) = torch.autograd.grad(closed_form(raw, kappa).sum(), raw)
    stacked = torch.stack([chunk[0] for chunk in chunks])
    assert ((stacked.mean(dim=0) - by_mean).abs() < 5 * stacked.std(dim=0) / 10**0.5 + 1e-9).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [2, 3, 64, 4096])
def test_extreme_concentrations_give_unit_vectors_and_finite_gradients(dim: int, dtype: torch.dtype):
    mean = directions(4, dim).to(dtype).requires_grad_()
    kappa = torch.tensor([0.0, 1e-3, 100.0, 6e4], dtype=dtype, requires_grad=True)
    for n in (1, 2, 30):
        draws = sample(normalize(mean.double(), dim=-1).to(dtype), kappa, n, seeded())
        assert draws.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        grad_mean, grad_kappa = torch.autograd.grad(draws.square().sum() + draws.sum(), (mean, kappa))
        assert grad_mean.isfinite().all()
        assert grad_kappa.isfinite().all()


def test_a_seed_repeats_the_draws_and_batches_of_one_work():
    mean, kappa = directions(1, 16), torch.tensor([4.0], dtype=torch.float64)
    first, again, other = (sample(mean, kappa, 1, seeded(number)) for number in (1, 1, 2))
    assert first.shape == (1, 1, 16)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert sample(mean[0], kappa[0], 3, seeded()).shape == (3, 16)


def test_batches_broadcast_and_gradients_come_back_in_their_shapes():
    mean = directions(2, 1, 8).requires_grad_()
    kappa = torch.tensor([1.0, 5.0, 9.0], dtype=torch.float64, requires_grad=True)
    draws = sample(mean, kappa, 4, seeded())
    assert draws.shape == (4, 2, 3, 8)
    draws.sum().backward()
    assert mean.grad.shape == mean.shape
    assert kappa.grad.shape == kappa.shape


def test_a_gaussian_parallel_to_the_mean_is_replaced():
    """As where a direction and its draws come from generators of the same seed."""
    for dim in (3, 16):
        mean = normalize(torch.randn(1, dim, generator=seeded(1)), dim=-1)
        draws = sample(mean, torch.tensor([4.0]), 2, seeded(1))
        torch.testing.assert_close(draws.norm(dim=-1), torch.ones(2, 1))


@pytest.mark.slow
def test_works_inside_a_compiled_function():
    mean, kappa = directions(2, 8), torch.tensor([1.0, 50.0], dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(lambda k: sample(mean, k, 5).square().sum(dim=-1), backend="aot_eager")
    draws = compiled(kappa)
    torch.testing.assert_close(draws, torch.ones(5, 2, dtype=torch.float64))
    draws.sum().backward()
    assert kappa.grad.isfinite().all()


def test_the_bound_on_rounds_ends_the_loop(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vmf_sampling, "MOST_ROUNDS", 0)
    draws = sample(directions(5, 4), torch.full((5,), 50.0, dtype=torch.float64), 100, seeded())
    torch.testing.assert_close(draws.norm(dim=-1), torch.ones(100, 5, dtype=torch.float64))


@pytest.mark.parametrize("bad", [-1.0, float("inf"), float("nan")])
def test_concentrations_outside_the_domain_are_refused(bad: float):
    with pytest.raises(DistributionError, match="concentration"):
        sample(directions(2, 8), torch.tensor([1.0, bad]), 3)


def test_directions_that_point_nowhere_are_refused():
    mean = directions(2, 8)
    for value in (0.0, float("nan"), float("inf")):
        broken = mean.clone()
        broken[1] = value
        with pytest.raises(DistributionError, match="points nowhere"):
            sample(broken, torch.ones(2), 3)


def test_one_dimension_and_no_samples_are_refused():
    with pytest.raises(DistributionError, match="2 dimensions"):
        sample(torch.ones(2, 1), torch.ones(2), 3)
    with pytest.raises(DistributionError, match="at least 1"):
        sample(directions(2, 8), torch.ones(2), 0)
