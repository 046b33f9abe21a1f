"""Vectorised samplers of the von Mises-Fisher distribution to compare with, for benchmarks/vmf.py.

Both are the scheme of Ulrich (1984) and Wood (1994), with Wood's b in its stable form (that of the public codes is
wrong in high dimension), Beta proposals from torch.distributions, and rejected draws alone repeated. Gradients run
through b with the accepted Beta draws held, as in the public codes, which is biased. Arguments: mean directions
(R, D), concentrations (R,), n draws; result (n, R, D).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torch import Tensor


def wood_projected(mean: Tensor, concentration: Tensor, n: int) -> Tensor:
    """The orthogonal part is a Gaussian vector, projected and normalised: the shortest way to write it."""
    w = _cosines(concentration, n, mean.shape[1]).unsqueeze(-1)
    vectors = torch.randn(n, *mean.shape)
    vectors = vectors - (vectors * mean).sum(dim=-1, keepdim=True) * mean
    vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    return w * mean + (1 - w**2).clamp_min(1e-10).sqrt() * vectors


def wood_householder(mean: Tensor, concentration: Tensor, n: int) -> Tensor:
    """Drawn around the first axis and reflected onto the mean, as the public codes do."""
    rows, dim = mean.shape
    w = _cosines(concentration, n, dim).unsqueeze(-1)
    vectors = torch.randn(n, rows, dim - 1)
    vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    around_axis = torch.cat([w, (1 - w**2).clamp_min(1e-10).sqrt() * vectors], dim=-1)
    axis = torch.zeros(dim)
    axis[0] = 1
    u = axis - mean
    u = u / (u.norm(dim=-1, keepdim=True) + 1e-5)
    return around_axis - 2 * (around_axis * u).sum(dim=-1, keepdim=True) * u


def scipy_rows(mean: Tensor, concentration: Tensor, n: int) -> np.ndarray:
    """scipy.stats.vonmises_fisher takes one distribution at a time."""
    pairs = zip(mean.double().numpy(), concentration.tolist(), strict=True)
    return np.stack([stats.vonmises_fisher(m / np.linalg.norm(m), k).rvs(n) for m, k in pairs], axis=1)


def _cosines(concentration: Tensor, n: int, dim: int) -> Tensor:
    kappa = concentration.unsqueeze(0).expand(n, -1)
    b = (dim - 1) / (2 * kappa + (4 * kappa**2 + (dim - 1) ** 2).sqrt())
    with torch.no_grad():
        accepted = _accepted(kappa.flatten(), b.flatten(), dim).view(b.shape)
    return (1 - (1 + b) * accepted) / (1 - (1 - b) * accepted)


def _accepted(kappa: Tensor, b: Tensor, dim: int) -> Tensor:
    x0 = (1 - b) / (1 + b)
    c = kappa * x0 + (dim - 1) * torch.log(1 - x0**2)
    beta = torch.distributions.Beta((dim - 1) / 2, (dim - 1) / 2)
    accepted = torch.empty_like(kappa)
    waiting = torch.arange(len(kappa))
    while len(waiting):
        k, b_, x0_, c_ = kappa[waiting], b[waiting], x0[waiting], c[waiting]
        epsilon = beta.sample((len(waiting),))
        w = (1 - (1 + b_) * epsilon) / (1 - (1 - b_) * epsilon)
        kept = k * w + (dim - 1) * torch.log(1 - x0_ * w) - c_ >= torch.rand(len(waiting)).log()
        accepted[waiting[kept]] = epsilon[kept]
        waiting = waiting[~kept]
    return accepted
