"""The non-isotropic von Mises-Fisher distribution (Kirchhof, Roth, Akata, Kasneci, ECCV 2022). Published code.

A mean direction mu and a positive diagonal K = diag(k_1 .. k_D): one concentration for each coordinate. With
y ~ vMF(K mu / |K mu|, |K mu|), z = K^-1 y / |K^-1 y| has the density

    log p(z) = log C_D(|K mu|) + |K mu| cos(K z, K mu) + sum_d log k_d - D log |K z|            "exact"

on the sphere, which integrates to 1 and is the vMF with concentration c for K = c I. Two more by name:
"one_point" puts |K mu| for |K z| in the last term, close where the concentration is high; "reference" is the form
of the paper's public code, with - log |K mu| as the last term. "reference" is no density: for K = c I it is off by
the factor c^(D-1), a bonus for concentrated classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .errors import DistributionError
from .von_mises_fisher import check_dim, check_directions, log_normalizer, result_dtype
from .von_mises_fisher import sample as sample_vmf

Normalizer = Literal["exact", "one_point", "reference"]
NORMALIZERS: tuple[Normalizer, ...] = ("exact", "one_point", "reference")

_MODE_STEPS = 500


def log_density(
    value: Tensor, mean_direction: Tensor, scale: Tensor, normalizer: Normalizer = "exact"
) -> Tensor:
    """log p(z), elementwise.

    Args:
        value: unit vectors z, (..., D).
        mean_direction: unit vectors mu, (..., D).
        scale: the diagonal of K, (..., D), above 0; all three broadcast.
        normalizer: "exact", "one_point" or "reference".

    Returns:
        (...), float32 for half precision.

    Raises:
        DistributionError: a scale not above 0 and finite, a zero vector, D < 2, an unknown normaliser.
    """
    parts = _Parts(mean_direction, scale, normalizer)
    value = value.to(parts.dtype)
    stretch = (value.square() * parts.weight).sum(dim=-1)
    return parts.log_density(stretch, (value * parts.weighted_mean).sum(dim=-1))


def pairwise_log_density(
    value: Tensor, mean_direction: Tensor, scale: Tensor, normalizer: Normalizer = "exact"
) -> Tensor:
    """log p_c(z) of every value (..., D) under every one of C distributions, (C, D) each: (..., C).

    Two matrix products, and no tensor larger than the result. Otherwise as `log_density`.
    """
    parts = _Parts(mean_direction, scale, normalizer)
    value = value.to(parts.dtype)
    return parts.log_density(value.square() @ parts.weight.mT, value @ parts.weighted_mean.mT)


def sample(mean_direction: Tensor, scale: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """``n`` draws (n, ..., D) of each distribution, with the gradient in direction and scale.

    Arguments as `log_density`; see `hub_models.von_mises_fisher.sample`.
    """
    parts = _Parts(mean_direction, scale, "exact")
    stretched = scale.to(parts.dtype) * mean_direction.to(parts.dtype)
    length = torch.linalg.vector_norm(stretched, dim=-1)
    draws = sample_vmf(stretched / length.unsqueeze(-1), length, n, generator)
    return torch.nn.functional.normalize(draws / scale.to(parts.dtype), dim=-1)


@torch.no_grad()
def mode(mean_direction: Tensor, scale: Tensor) -> Tensor:
    """The direction of highest exact density near the mean (MAP), (..., D), in float64 and cast back.

    It leans from mu towards the coordinates of low concentration, since the map K^-1 crowds draws there; under
    the other two normalisers the mode is mu itself. Ascent from mu in y = K z / |K z|, where the objective is
    |K mu| y'm + D/2 log(y' K^-2 y), m = K mu / |K mu|; it holds the direction that the gradient leaves unturned.
    """
    parts = _Parts(mean_direction, scale, "exact")
    stretched = (scale * mean_direction).double()
    spread = scale.double().square().reciprocal()
    dim = scale.shape[-1]
    point = torch.nn.functional.normalize(stretched, dim=-1)
    for _ in range(_MODE_STEPS):
        pull = spread * point / (spread * point.square()).sum(dim=-1, keepdim=True)
        # The last term adds a constant on the sphere; it makes the objective convex, hence each step an ascent.
        step = stretched + dim * pull + 2 * dim * pull.square().sum(dim=-1, keepdim=True) * point
        point = torch.nn.functional.normalize(step, dim=-1)
    return torch.nn.functional.normalize(point / scale.double(), dim=-1).to(parts.dtype)


class _Parts:
    """What the density needs of a distribution. K is divided by its geometric mean, so that float32 suffices."""

    def __init__(self, mean_direction: Tensor, scale: Tensor, normalizer: Normalizer) -> None:
        if normalizer not in NORMALIZERS:
            raise DistributionError(f"normalizer {normalizer!r} is none of {', '.join(NORMALIZERS)}")
        self.dim = scale.shape[-1] if scale.ndim else 0
        check_dim(self.dim)
        check_directions(mean_direction)
        if not torch.compiler.is_compiling() and not bool(((scale > 0) & scale.isfinite()).all()):
            raise DistributionError("the scales of a non-isotropic vMF must be finite and above 0")
        self.normalizer = normalizer
        self.dtype = result_dtype(mean_direction, scale)
        mean, scale = mean_direction.to(self.dtype), scale.to(self.dtype)
        log_scale = scale.log()
        self.log_level = log_scale.mean(dim=-1)
        self.weight = (2 * (log_scale - self.log_level.unsqueeze(-1))).exp()
        self.weighted_mean = self.weight * mean
        #: |K mu|^2, but for the level.
        self.mean_stretch = (self.weighted_mean * mean).sum(dim=-1)

    def log_density(self, stretch: Tensor, product: Tensor) -> Tensor:
        """From |K z|^2 and (K z)'(K mu), each divided by the level squared."""
        level = self.log_level.exp()
        concentration = level * self.mean_stretch.sqrt()
        value = log_normalizer(concentration, self.dim) + level * product / stretch.sqrt()
        if self.normalizer == "exact":
            return value - self.dim / 2 * stretch.log()
        if self.normalizer == "one_point":
            return value - self.dim / 2 * self.mean_stretch.log()
        return value + self.dim * self.log_level - concentration.log()
