"""Credible regions of von Mises-Fisher distributions: caps of the sphere with a promised probability. Published code.

The smallest region that holds a given share of a vMF distribution is a cap around its mean direction. In the angle
theta to the mean the density is that of one number,

    p(theta) ~ sin(theta)^(D-2) exp(kappa cos theta),

a single bump of width about 1 / sqrt(kappa + D), so that its distribution function takes a few Gauss-Legendre rules
side by side and needs no Bessel function, and its quantile a safeguarded Newton iteration within one of them.
Angles are measured from the bump and from the pole, never as differences of cosines: no digits are lost at any
kappa. No gradients.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .errors import DistributionError
from .von_mises_fisher import check_dim, checked_concentration

#: The bump is integrated this many widths 1 / sqrt(kappa + D) to either side: less than e^-40 of it lies farther out.
REACH = 16.0
PANELS = 32
NODES = 10
#: Of Newton's iteration with halving where a step leaves its bracket; half of them would do.
STEPS = 30
#: Rows that are integrated together, which bounds memory at about 3 MB an intermediate value.
CHUNK = 1024
#: Terms of the continued fraction of the incomplete beta function, enough for D up to 4096 and beyond.
TERMS = 200


def cosine_quantile(concentration: Tensor, dim: int, level: float | Tensor) -> Tensor:
    """The edge c of the credible cap {z : mu'z >= c}: its probability is ``level`` under vMF(mu, kappa).

    Args:
        concentration: kappa, at least 0, of any shape; 0 is the uniform distribution.
        dim: D, at least 2, the dimension of the space around the sphere.
        level: probability of the cap, in (0, 1); a tensor is broadcast with the concentrations.

    Returns:
        Cosines in [-1, 1], always float64: near 1, where the edge of a small cap lies, float32 has few digits left.

    Raises:
        DistributionError: a concentration, dimension or level outside its domain.
    """
    kappa = checked_concentration(concentration, dim)
    share = torch.as_tensor(level, dtype=torch.float64, device=kappa.device)
    right = (share > 0) & (share < 1)
    if not bool(right.all()):
        wrong = share[~right].flatten()[0].item()
        raise DistributionError(f"a credible level must lie between 0 and 1, got {wrong}; 0.95 is customary")
    kappa, share = torch.broadcast_tensors(kappa.detach(), share)
    parts = [
        _angle_quantile(*rows, dim)
        for rows in zip(kappa.flatten().split(CHUNK), share.flatten().split(CHUNK), strict=True)
    ]
    return torch.cat(parts).cos().reshape(kappa.shape)


def cap_share(cosine: Tensor, dim: int) -> Tensor:
    """The share of the whole sphere that the cap {z : mu'z >= c} covers, in [0, 1].

    Half the regularised incomplete beta function I_{1-c^2}((D-1)/2, 1/2) for a cap smaller than half the sphere
    (Li, 2011), by its continued fraction (DLMF 8.17.22).

    Args:
        cosine: c, in [-1, 1], of any shape.
        dim: D, at least 2.

    Returns:
        float64; relative error about 1e-12, 0 where a share is below 1e-308.

    Raises:
        DistributionError: a cosine outside [-1, 1] or NaN, or D < 2.
    """
    check_dim(dim)
    c = cosine.detach().double()
    right = (c >= -1) & (c <= 1)
    if not bool(right.all()):
        raise DistributionError(f"a cosine must lie in [-1, 1], got {c[~right].flatten()[0].item()}")
    inside, outside = (1 - c) * (1 + c), c.square()  # sin^2 and cos^2
    order = (dim - 1) / 2
    swapped = inside > (order + 1) / (order + 2.5)  # where the fraction of the complement converges faster
    x = torch.where(swapped, outside, inside)
    a = torch.where(swapped, 0.5, order).to(x)
    b = order + 0.5 - a
    part = _incomplete_beta(x, a, b, (1 - x), order)
    half = torch.where(swapped, 1 - part, part) / 2
    return torch.where(c >= 0, half, 1 - half)


class _Bump:
    """The density in the angle of rows of concentrations (R,), up to a factor, and where it is not negligible."""

    def __init__(self, kappa: Tensor, dim: int) -> None:
        self.kappa, self.power = kappa.unsqueeze(-1), dim - 2
        root = (self.power**2 + 4 * kappa.square()).sqrt()
        total = self.power + root
        # At kappa = 0 on the circle the density is constant, and any angle its mode.
        cosine = torch.where(total > 0, 2 * kappa / total.clamp_min(torch.finfo(total.dtype).tiny), 1.0)
        sine = (2 * self.power / total.clamp_min(torch.finfo(total.dtype).tiny)).sqrt()
        self.mode, self.sine = torch.atan2(sine, cosine).unsqueeze(-1), sine.unsqueeze(-1)
        reach = REACH / (self.kappa + dim).sqrt()
        self.low, self.high = (self.mode - reach).clamp_min(0), (self.mode + reach).clamp_max(math.pi)

    def __call__(self, angle: Tensor) -> Tensor:
        """p(angle) / p(mode), angles (R, ...)."""
        kappa, mode, sine = (
            value.reshape(-1, *[1] * (angle.ndim - 1)) for value in (self.kappa, self.mode, self.sine)
        )
        half_sum, half_step = (angle + mode) / 2, (angle - mode) / 2
        sin_step = half_step.sin()
        log = -2 * kappa * half_sum.sin() * sin_step  # kappa (cos angle - cos mode)
        if self.power:
            growth = 2 * half_sum.cos() * sin_step / sine  # sin angle / sin mode - 1
            log = log + self.power * growth.clamp_min(-1).log1p()
        return log.exp()


def _angle_quantile(kappa: Tensor, level: Tensor, dim: int) -> Tensor:
    """The angle below which a share ``level`` of the draws lies; both (R,)."""
    density = _Bump(kappa, dim)
    nodes, weights = _gauss_legendre(str(kappa.device))
    width = (density.high - density.low) / PANELS
    starts = density.low + width * torch.arange(PANELS, device=kappa.device)
    mass = (density(starts.unsqueeze(-1) + width.unsqueeze(-1) * nodes) @ weights) * width
    upto = mass.cumsum(dim=1)
    wanted = level.unsqueeze(1) * upto[:, -1:]
    panel = torch.searchsorted(upto, wanted).clamp_max(PANELS - 1)
    rest = wanted - (upto - mass).gather(1, panel)
    start = starts.gather(1, panel)
    low, high = start.clone(), start + width
    angle = low + width * (rest / mass.gather(1, panel)).clamp(0, 1)
    for _ in range(STEPS):
        step = angle - start
        excess = (density(start + step * nodes) @ weights).unsqueeze(1) * step - rest
        low, high = torch.where(excess <= 0, angle, low), torch.where(excess >= 0, angle, high)
        newton = angle - excess / density(angle)
        angle = torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
    return angle.squeeze(1)


def _incomplete_beta(x: Tensor, a: Tensor, b: Tensor, rest: Tensor, order: float) -> Tensor:
    """I_x(a, b) with rest = 1 - x, where {a, b} = {order, 1/2}, by the modified method of Lentz."""
    log_beta = math.lgamma(order) + math.lgamma(0.5) - math.lgamma(order + 0.5)
    front = torch.exp(torch.xlogy(a, x) + torch.xlogy(b, rest) - a.log() - log_beta)
    denominator = 1 / (1 - (a + b) / (a + 1) * x)
    numerator, fraction = torch.ones_like(x), denominator
    for m in range(1, TERMS + 1):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            denominator = 1 / (1 + term * denominator)
            numerator = 1 + term / numerator
            fraction = fraction * denominator * numerator
    return front * fraction


@lru_cache(maxsize=8)
def _gauss_legendre(device: str) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return tuple(torch.tensor(values, device=device) for values in ((nodes + 1) / 2, weights / 2))  # type: ignore[return-value]
