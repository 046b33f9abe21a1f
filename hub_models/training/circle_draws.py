"""Many draws from each of many von Mises distributions, the von Mises-Fisher distributions on the circle.

A draw is its angle with the mean, the quantile function at a standard normal number x:

    angle = F_kappa^{-1}(Phi(x)) = x / sqrt(kappa) * h(x^2, 1 / kappa),

and its derivative in kappa is that of the quantile function, which is the exact gradient (implicit
reparameterisation: Figurnov, Mohamed, Mnih, 2018). h is smooth and near 1; it is computed once, on a grid of
Chebyshev points in both arguments, and interpolated: a draw costs a polynomial, a fifth of a rejection scheme.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.polynomial import chebyshev
from scipy.special import log_ndtr
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..von_mises_fisher import sample

#: The smallest concentration for which h is interpolated.
LOWEST = 12.0
#: Normal numbers are clipped here: one in 5e8 draws, and none in float32.
REACH = 6.0
#: Chebyshev points in 1 / kappa and in x^2.
POINTS = (20, 20)
_TOLERANCE = 1e-6
_QUADRATURE = 64
_NEWTON_STEPS = 60


def draw_angles(concentration: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Angles with the mean, float32 (n, R), of valid concentrations (R,), with the exact gradient in them.

    Concentrations below `LOWEST` are drawn by `hub_models.von_mises_fisher.sample`.
    """
    low = concentration < LOWEST
    if not bool(low.any()):
        return _by_quantile(concentration, n, generator)
    mean = torch.tensor([1.0, 0.0], device=concentration.device).expand(int(low.sum()), 2)
    x, y = sample(mean, concentration[low], n, generator).unbind(dim=-1)
    angles = torch.cat([torch.atan2(y, x), _by_quantile(concentration[~low], n, generator)], dim=1)
    return angles[:, torch.cat([low.nonzero(), (~low).nonzero()]).squeeze(1).argsort()]


def _by_quantile(concentration: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    normal = torch.randn(n, len(concentration), generator=generator, device=concentration.device)
    return _Quantile.apply(concentration, normal.clamp_(-REACH, REACH))


class _Quantile(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, concentration: Tensor, normal: Tensor) -> Tensor:
        ctx.save_for_backward(concentration, normal)
        return _along(normal, _coefficients(concentration, 0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        concentration, normal = ctx.saved_tensors
        slope = _along(normal, _coefficients(concentration, 1))
        return slope.mul_(gradient).sum(dim=0).to(concentration.dtype), None


def _along(normal: Tensor, coefficients: Tensor) -> Tensor:
    """x times a polynomial in 2 x^2 / REACH^2 - 1, by Horner's scheme: coefficients (K, R), the constant first."""
    position = normal.square().mul_(2 / REACH**2).sub_(1)
    value = coefficients[-1] * torch.ones_like(normal)
    for coefficient in coefficients[:-1].flip(0):
        value = torch.addcmul(coefficient, value, position)
    return value.mul_(normal)


def _coefficients(concentration: Tensor, derivative: int) -> Tensor:
    """(K, R) float32, of angle / x or its derivative in kappa; no more of them than these concentrations need."""
    kappa = concentration.detach().double()
    table = _table(str(kappa.device))
    position = 2 * LOWEST / kappa - 1
    values, slopes = (
        [torch.ones_like(position), position],
        [torch.zeros_like(position), torch.ones_like(position)],
    )
    for _ in range(len(table) - 2):
        values.append(2 * position * values[-1] - values[-2])
        slopes.append(2 * values[-2] + 2 * position * slopes[-1] - slopes[-2])
    if derivative:
        inner = table.T @ torch.stack(slopes) * (-2 * LOWEST / kappa.square())
        value = inner / kappa.sqrt() - table.T @ torch.stack(values) / (2 * kappa**1.5)
    else:
        value = table.T @ torch.stack(values) / kappa.sqrt()
    size = value.abs()
    matters = (size > _TOLERANCE * size[0]).any(dim=1)
    last = int((matters * torch.arange(len(value), device=kappa.device)).max())
    return value[: last + 1].float()


@lru_cache(maxsize=4)
def _table(device: str) -> Tensor:
    """h as polynomial coefficients: Chebyshev in 1 / kappa (rows), powers in x^2 (columns), both on [-1, 1]."""
    inverse, square = (np.cos(np.pi * (np.arange(size) + 0.5) / size) for size in POINTS)
    kappa = 2 * LOWEST / (inverse[:, None] + 1)
    normal = REACH * np.sqrt((square + 1) / 2)
    values = von_mises_quantile(normal, kappa) * np.sqrt(kappa) / normal
    rows = np.linalg.solve(chebyshev.chebvander(inverse, len(inverse) - 1), values)
    both = np.linalg.solve(chebyshev.chebvander(square, len(square) - 1), rows.T).T
    powers = [np.pad(power := chebyshev.cheb2poly(row), (0, len(row) - len(power))) for row in both]
    return torch.tensor(np.array(powers), device=device)


def von_mises_quantile(normal: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """The angle in [0, pi) with as much probability above it as a normal number ``normal`` >= 0 has; broadcast.

    Newton's method on the logarithm of the survival function, which is concave, by Gauss-Legendre quadrature over
    the tail.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_QUADRATURE)
    nodes, weights = (nodes + 1) / 2, weights / 2
    target = log_ndtr(-normal)

    def log_tail(angle: np.ndarray) -> np.ndarray:
        """log of the integral of exp(kappa (cos t - cos angle)) from the angle to pi."""
        # kappa (cos angle - cos t) is at least kappa (1 - cos(t - angle)) up to a right angle: 45 is out of sight.
        length = np.minimum(np.pi - angle, np.minimum(np.pi, 9.5 * np.pi / 2 / np.sqrt(kappa)))
        t = angle[..., None] + length[..., None] * nodes
        return np.log(np.exp(kappa[..., None] * (np.cos(t) - np.cos(angle)[..., None])) @ weights * length)

    normal, kappa = np.broadcast_arrays(normal, kappa)
    log_half = log_tail(np.zeros(normal.shape))
    angle = np.minimum(normal / np.sqrt(kappa), 0.9 * np.pi)
    for _ in range(_NEWTON_STEPS):
        tail = log_tail(angle)
        excess = tail + kappa * (np.cos(angle) - 1) - log_half - math.log(2) - target
        angle = np.clip(angle + excess * np.exp(tail), 0, (angle + np.pi) / 2)
    return angle
