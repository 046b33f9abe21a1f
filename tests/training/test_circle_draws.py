from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import kstest

from hub_models.training.circle_draws import LOWEST, REACH, draw_angles, von_mises_quantile
from hub_models.von_mises_fisher import mean_resultant_length

CONCENTRATIONS = (12.0, 16.0, 50.0, 1e4)


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def upper_tail(angle: float, kappa: float) -> mpmath.mpf:
    """P(draw > angle), forty digits."""
    with mpmath.workdps(40):
        edges = [angle + (mpmath.pi - angle) * i / 40 for i in range(41)]
        density = mpmath.quad(lambda t: mpmath.exp(kappa * (mpmath.cos(t) - 1)), edges)
        return density / (2 * mpmath.pi * mpmath.besseli(0, kappa) * mpmath.exp(-kappa))


@pytest.mark.parametrize("kappa", [12.0, 16.0, 1e3])
@pytest.mark.parametrize("normal", [0.01, 1.0, 3.0, 5.9])
def test_the_quantile_has_the_tail_of_its_normal_number(kappa: float, normal: float):
    (angle,) = von_mises_quantile(np.array([normal]), np.array([kappa]))
    expected = mpmath.erfc(normal / mpmath.sqrt(2)) / 2
    assert float(upper_tail(angle, kappa) / expected) == pytest.approx(1, abs=1e-9)


def draws_and_normals(kappa: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    draws = draw_angles(torch.tensor([kappa], dtype=torch.float64), n, seeded())
    normals = torch.randn(n, 1, generator=seeded()).clamp_(-REACH, REACH)
    return draws.double().numpy()[:, 0], normals.double().numpy()[:, 0]


@pytest.mark.parametrize("kappa", CONCENTRATIONS)
def test_the_interpolated_quantile_is_the_exact_one(kappa: float):
    draws, normals = draws_and_normals(kappa, 500)
    exact = np.sign(normals) * von_mises_quantile(np.abs(normals), np.full(500, kappa))
    assert np.abs(draws - exact).max() * kappa**0.5 < 1e-5


@pytest.mark.parametrize("kappa", CONCENTRATIONS)
def test_the_gradient_is_the_slope_of_the_exact_quantile(kappa: float):
    value = torch.tensor([kappa], dtype=torch.float64, requires_grad=True)
    draw_angles(value, 1, seeded(3)).sum().backward()
    normal = torch.randn(1, 1, generator=seeded(3)).double().abs().numpy()[0]
    step = 1e-4 * kappa
    above, below = (von_mises_quantile(normal, np.array([kappa + s]))[0] for s in (step, -step))
    slope = (above - below) / (2 * step)
    assert abs(value.grad.item()) == pytest.approx(abs(slope), rel=1e-4)


@pytest.mark.parametrize("kappa", [0.0, 1.0, LOWEST - 1, LOWEST, 100.0])
def test_draws_follow_the_distribution(kappa: float):
    draws = draw_angles(torch.tensor([kappa]), 4000, seeded())[:, 0].double().numpy()
    grid = np.linspace(-np.pi, np.pi, 20001)
    density = np.exp(kappa * (np.cos(grid) - 1))
    steps = (density[1:] + density[:-1]).cumsum()
    distribution = np.concatenate([[0], steps / steps[-1]])
    assert kstest(draws, lambda x: np.interp(x, grid, distribution)).pvalue > 1e-3


def test_mixed_concentrations_keep_their_places_and_gradients():
    """The expected cosine is A_2(kappa), on either side of the switch of method."""
    kappa = torch.tensor([30.0, 2.0, 14.0, 5.0], requires_grad=True)
    cosine = draw_angles(kappa, 20000, seeded()).cos().mean(dim=0)
    exact = torch.tensor([30.0, 2.0, 14.0, 5.0], requires_grad=True)
    length = mean_resultant_length(exact, 2)
    torch.testing.assert_close(cosine, length, atol=0.01, rtol=0)
    cosine.sum().backward()
    length.sum().backward()
    torch.testing.assert_close(kappa.grad, exact.grad, atol=0, rtol=0.1)
