"""How draws of a von Mises-Fisher distribution move as its concentration grows. Published code.

With angles theta = acos(mu'z) the draws keep their distribution as kappa grows by d kappa if each moves by
d theta = -(dF / d kappa) / p, F the distribution function of the angle (implicit reparameterisation: Figurnov,
Mohamed, Mnih, 2018). On the sphere this is dz = c(w) (mu - w z) d kappa, w = cos theta, with

    c(w) = integral from 0 to theta of (cos t - A) sin(t)^(D-2) exp(kappa (cos t - w)) dt / sin(theta)^(D-1),

A the mean resultant length; from theta to pi it is the same integral with the other sign, and the one that runs
over the tail has an integrand of one sign: no digits are lost. c lies between (1 - A) / (D - 1) at w = 1 and
(1 + A) / (D - 1) at w = -1 and is 1 / (D - 1) everywhere at kappa = 0.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .bessel_ratio import bessel_ratio

#: Points of the Gauss-Legendre rule, and how many standard deviations of the angle it reaches into the tail.
QUADRATURE_POINTS = 24
REACH = 10.0
#: Rows with more draws than this are interpolated from so many Chebyshev points between their extremes.
INTERPOLATION_POINTS = 12


def flow_factor(delta: Tensor, concentration: Tensor, dim: int) -> Tensor:
    """c(w) for w = 1 - ``delta`` (n, R) and ``concentration`` (R,) in float64; dtype of delta, no gradient.

    Relative error below 1e-6, 1e-9 where few draws share a concentration.
    """
    if len(delta) <= INTERPOLATION_POINTS:
        return _integrated(delta.double(), concentration, dim).to(delta.dtype)
    low, high = delta.amin(dim=0), delta.amax(dim=0)
    centre, half = (low + high) / 2, ((high - low) / 2).clamp_min(torch.finfo(delta.dtype).tiny)
    points, transform = _chebyshev(str(delta.device))
    values = _integrated(centre.double() + half.double() * points.unsqueeze(1), concentration, dim)
    return _clenshaw((delta - centre) / half, (transform @ values).to(delta.dtype))


def _integrated(delta: Tensor, concentration: Tensor, dim: int) -> Tensor:
    mean_length = concentration * bessel_ratio(concentration.square(), dim / 2 - 1)
    excess = (1 - mean_length) - delta  # w - A
    theta = (2 * (delta / 2).clamp(1e-30, 1 - 1e-15).sqrt().asin()).unsqueeze(-1)
    inward = excess.unsqueeze(-1) > 0  # The tail is the side of the mode.
    reach = REACH / (concentration + dim).sqrt().unsqueeze(-1)
    length = torch.where(inward, torch.minimum(theta, reach), -torch.minimum(torch.pi - theta, reach))
    nodes, weights = _gauss_legendre(str(delta.device))
    angle = theta - length * nodes
    rise = 2 * ((theta - angle) / 2).sin() * ((theta + angle) / 2).sin()  # cos(angle) - cos(theta)
    kappa = concentration.unsqueeze(-1)
    log_density = (dim - 2) * (angle.sin() / theta.sin()).log() + kappa * rise
    integrand = (rise + excess.unsqueeze(-1)) * log_density.exp()
    return ((integrand @ weights) * length.squeeze(-1)) / theta.squeeze(-1).sin()


def _clenshaw(x: Tensor, coefficients: Tensor) -> Tensor:
    """sum_k coefficients[k] T_k(x), coefficients (K, R)."""
    later, last = torch.zeros_like(x), torch.zeros_like(x)
    for row in range(len(coefficients) - 1, 0, -1):
        later, last = last, coefficients[row] + 2 * x * last - later
    return coefficients[0] + x * last - later


@lru_cache(maxsize=8)
def _gauss_legendre(device: str) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE_POINTS)
    return torch.tensor((nodes + 1) / 2, device=device), torch.tensor(weights / 2, device=device)


@lru_cache(maxsize=8)
def _chebyshev(device: str) -> tuple[Tensor, Tensor]:
    """Chebyshev points (K,) and the matrix (K, K) from values there to coefficients."""
    k = np.arange(INTERPOLATION_POINTS)
    angles = np.pi * (k + 0.5) / INTERPOLATION_POINTS
    transform = 2 / INTERPOLATION_POINTS * np.cos(np.outer(k, angles))
    transform[0] /= 2
    return torch.tensor(np.cos(angles), device=device), torch.tensor(transform, device=device)
