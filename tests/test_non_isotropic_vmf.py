from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn.functional import normalize

from hub_models.errors import DistributionError
from hub_models.non_isotropic_vmf import NORMALIZERS, log_density, mode, pairwise_log_density, sample
from hub_models.von_mises_fisher import log_density as vmf_log_density

#: Scales whose densities must integrate to 1; the numbers of the paper's public form are in the reference sheet.
SCALES = [[5.0, 5, 5], [8.0, 3, 5], [20.0, 10, 30], [0.2, 4, 1], [6.0] * 8, [4.0, 5, 6, 6, 7, 8, 8, 9]]


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def directions(*shape: int, seed: int = 12345) -> Tensor:
    return normalize(torch.randn(*shape, generator=seeded(seed), dtype=torch.float64), dim=-1)


def log_area(dim: int) -> float:
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_the_exact_density_integrates_to_one_and_the_reference_does_not(scale: list[float]):
    k = torch.tensor(scale, dtype=torch.float64)
    mean = normalize(torch.ones_like(k), dim=-1)
    points = directions(400_000, len(scale))
    integrals = {}
    for name in NORMALIZERS:
        weights = (log_density(points, mean, k, name) + log_area(len(scale))).exp()
        integrals[name] = weights.mean().item()
        error = weights.std().item() / len(points) ** 0.5
        if name == "exact":
            assert abs(integrals[name] - 1) < 5 * error
            assert error < 0.05
    if len(set(scale)) == 1:
        assert integrals["one_point"] == pytest.approx(integrals["exact"])
        assert integrals["reference"] == pytest.approx(integrals["exact"] * scale[0] ** (len(scale) - 1))


@pytest.mark.parametrize("dim", [2, 3, 8, 64])
@pytest.mark.parametrize("name", ["exact", "one_point"])
def test_equal_scales_give_the_vmf(dim: int, name: str):
    mean, value = directions(5, dim, seed=1), directions(5, dim, seed=2)
    for c in (0.3, 7.0, 90.0):
        truth = vmf_log_density((mean * value).sum(dim=-1), torch.tensor(c, dtype=torch.float64), dim)
        torch.testing.assert_close(log_density(value, mean, torch.full_like(mean, c), name), truth)


def test_density_is_the_formula_of_the_sheet():
    mean, value = directions(6, 5, seed=1), directions(6, 5, seed=2)
    k = torch.rand(6, 5, generator=seeded(), dtype=torch.float64) * 9 + 0.1
    length, stretch = (k * mean).norm(dim=-1), (k * value).norm(dim=-1)
    zero = vmf_log_density(torch.zeros(6, dtype=torch.float64), length, 5)
    common = zero + ((k * value) * (k * mean)).sum(dim=-1) / stretch + k.log().sum(dim=-1)
    torch.testing.assert_close(log_density(value, mean, k), common - 5 * stretch.log())
    torch.testing.assert_close(log_density(value, mean, k, "one_point"), common - 5 * length.log())
    torch.testing.assert_close(log_density(value, mean, k, "reference"), common - length.log())


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pairs_equal_one_by_one_and_permute_with_the_coordinates(name: str, dtype: torch.dtype):
    values, means = directions(3, 7, 6, seed=1).to(dtype), directions(4, 6, seed=2).to(dtype)
    k = torch.rand(4, 6, generator=seeded(), dtype=dtype) * 20 + 0.1
    pairs = pairwise_log_density(values, means, k, name)
    assert pairs.shape == (3, 7, 4)
    assert pairs.dtype == dtype
    for c in range(4):
        torch.testing.assert_close(pairs[..., c], log_density(values, means[c], k[c], name))
    order = torch.randperm(6, generator=seeded())
    permuted = pairwise_log_density(values[..., order], means[:, order], k[:, order], name)
    torch.testing.assert_close(permuted, pairs)


def test_gradients():
    value, mean = directions(3, 5, seed=1).requires_grad_(), directions(2, 5, seed=2).requires_grad_()
    k = (torch.rand(2, 5, generator=seeded(), dtype=torch.float64) * 5 + 0.5).requires_grad_()
    for name in NORMALIZERS:
        assert torch.autograd.gradcheck(lambda *a, n=name: pairwise_log_density(*a, n), (value, mean, k))


def test_large_dimensions_in_single_precision():
    mean, value = directions(3, 512, seed=1), directions(3, 512, seed=2)
    k = torch.rand(3, 512, generator=seeded(), dtype=torch.float64) * 30 + 1
    exact = log_density(value, mean, k)
    single = log_density(value.float(), mean.float(), k.float())
    torch.testing.assert_close(single.double(), exact, rtol=2e-6, atol=2e-3)
    half = log_density(value.bfloat16(), mean.bfloat16(), k.bfloat16())
    assert half.dtype == torch.float32
    assert half.isfinite().all()


def test_draws_follow_the_density_on_the_circle():
    mean, k = normalize(torch.tensor([0.6, 0.8], dtype=torch.float64), dim=-1), torch.tensor([1.0, 6.0])
    draws = sample(mean, k.double(), 4000, seeded())
    angle = torch.linspace(-torch.pi, torch.pi, 20001, dtype=torch.float64)
    density = log_density(torch.stack([angle.cos(), angle.sin()], dim=-1), mean, k.double()).exp()
    table = torch.cumulative_trapezoid(density, angle)
    assert table[-1].item() == pytest.approx(1, abs=1e-6)
    drawn = torch.atan2(draws[:, 1], draws[:, 0])
    position = ((drawn + torch.pi) / (2 * torch.pi) * 20000).long().clamp_max(19999)
    assert stats.kstest(table[position].numpy(), "uniform").pvalue > 1e-3


def test_draws_follow_the_density_on_spheres():
    """E[f / p] over draws is the integral of f: the surface itself for f = 1, which also tests gradients exist."""
    mean = directions(1, 4, seed=3)
    k = torch.tensor([[2.0, 3.0, 2.5, 4.0]], dtype=torch.float64, requires_grad=True)
    draws = sample(mean, k, 20000, seeded())
    weights = (-log_density(draws, mean, k) - log_area(4)).exp().detach()
    assert abs(weights.mean() - 1) < 5 * weights.std() / len(weights) ** 0.5
    draws.sum().backward()
    assert k.grad.isfinite().all()


@pytest.mark.parametrize("scale", [*SCALES[:4], [60.0, 40.0, 50.0], [5.0, 1.0, 1.0]], ids=str)
def test_mode_is_the_highest_point(scale: list[float]):
    k = torch.tensor(scale, dtype=torch.float64)
    mean = directions(3, seed=8)
    best = mode(mean, k)
    grid = directions(200_000, 3)
    assert log_density(best, mean, k) >= log_density(grid, mean, k).max() - 1e-9
    point = best.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(log_density(normalize(point, dim=-1), mean, k), point)
    assert gradient.norm() < 1e-4 * (1 + k.max())


def test_mode_of_equal_scales_is_the_mean():
    mean = directions(4, 16)
    torch.testing.assert_close(mode(mean, torch.full_like(mean, 3.0)), mean)


def test_bad_input():
    mean = directions(2, 4)
    for bad in (0.0, -1.0, float("inf"), float("nan")):
        k = torch.ones(2, 4, dtype=torch.float64)
        k[1, 2] = bad
        with pytest.raises(DistributionError, match="scales"):
            log_density(mean, mean, k)
        with pytest.raises(DistributionError, match="scales"):
            sample(mean, k, 2)
    with pytest.raises(DistributionError, match="points nowhere"):
        log_density(mean, torch.zeros_like(mean), torch.ones_like(mean))
    with pytest.raises(DistributionError, match="normalizer 'none'"):
        log_density(mean, mean, torch.ones_like(mean), "none")
    with pytest.raises(DistributionError, match="2 dimensions"):
        log_density(torch.ones(2, 1), torch.ones(2, 1), torch.ones(2, 1))
