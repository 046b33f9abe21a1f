"""Distributions of directions in the form of torch.distributions. Published code.

The maths is in `hub_models.von_mises_fisher` and `hub_models.non_isotropic_vmf`; these classes give it the usual
interface: batch and event shapes, `rsample`, `log_prob`, `entropy`, `kl_divergence`, transformed and independent
distributions.
"""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints, register_kl

from .non_isotropic_vmf import Normalizer
from .non_isotropic_vmf import log_density as nivmf_log_density
from .non_isotropic_vmf import mode as nivmf_mode
from .non_isotropic_vmf import sample as sample_nivmf
from .von_mises_fisher import (
    check_dim,
    entropy,
    kl_divergence,
    log_density,
    mean_resultant_length,
    result_dtype,
    sample,
)

_Shape = Size | list[int] | tuple[int, ...]


class _UnitVector(constraints.Constraint):
    """Vectors of length 1, to a relative 1e-3: enough to tell a direction from an embedding."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (torch.linalg.vector_norm(value, dim=-1) - 1).abs() < 1e-3


unit_vector = _UnitVector()


class VonMisesFisher(Distribution):
    """von Mises-Fisher on the unit sphere of R^D.

    Args:
        mean_direction: unit vectors, (..., D), D at least 2.
        concentration: (...), finite and at least 0; broadcast with the directions.
        validate_args: as everywhere in torch.distributions.

    Raises:
        DistributionError: a concentration or direction outside its domain, when a method meets it.
        ValueError: the same, at once, with ``validate_args``.
    """

    arg_constraints = {"mean_direction": unit_vector, "concentration": constraints.nonnegative}  # noqa: RUF012
    support = unit_vector
    has_rsample = True

    def __init__(
        self, mean_direction: Tensor, concentration: Tensor, validate_args: bool | None = None
    ) -> None:
        check_dim(mean_direction.shape[-1] if mean_direction.ndim else 0)
        shape = torch.broadcast_shapes(mean_direction.shape[:-1], concentration.shape)
        self.mean_direction = mean_direction.expand(*shape, -1)
        self.concentration = concentration.expand(shape)
        super().__init__(shape, mean_direction.shape[-1:], validate_args)

    @property
    def dim(self) -> int:
        """D, of the space around the sphere."""
        return self.event_shape[0]

    @property
    def mean(self) -> Tensor:
        """E[z] = A_D(kappa) mu, inside the sphere, (..., D)."""
        return mean_resultant_length(self.concentration, self.dim).unsqueeze(-1) * self.mean_direction

    @property
    def mode(self) -> Tensor:
        """The mean direction."""
        return self.mean_direction

    def expand(self, batch_shape: _Shape, _instance: object = None) -> VonMisesFisher:
        """The same distribution, repeated to ``batch_shape``."""
        mean = self.mean_direction.expand(*batch_shape, self.dim)
        return VonMisesFisher(mean, self.concentration.expand(batch_shape), validate_args=False)

    def rsample(self, sample_shape: _Shape = ()) -> Tensor:
        """(*sample_shape, ..., D), with gradients; torch's own generator."""
        count = Size(sample_shape).numel()
        draws = sample(self.mean_direction, self.concentration, count)
        return draws.reshape(*sample_shape, *self.batch_shape, self.dim)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of unit vectors (..., D)."""
        if self._validate_args:
            self._validate_sample(value)
        # Near the mean, 1 - cosine is below the resolution of a float32 cosine, and kappa multiplies it.
        gap = (value - self.mean_direction).square().sum(dim=-1).double() / 2
        return log_density(1 - gap, self.concentration, self.dim).to(result_dtype(value, self.concentration))

    def entropy(self) -> Tensor:
        """In nats, (...)."""
        return entropy(self.concentration, self.dim)


class NonIsotropicVonMisesFisher(Distribution):
    """Non-isotropic von Mises-Fisher: a concentration for each coordinate.

    Args:
        mean_direction: unit vectors, (..., D), D at least 2.
        scale: the diagonal of K, (..., D), finite and above 0.
        normalizer: "exact", "one_point" or "reference"; draws are those of the exact density.
        validate_args: as everywhere in torch.distributions.
    """

    arg_constraints = {  # noqa: RUF012
        "mean_direction": unit_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = unit_vector
    has_rsample = True

    def __init__(
        self,
        mean_direction: Tensor,
        scale: Tensor,
        normalizer: Normalizer = "exact",
        validate_args: bool | None = None,
    ) -> None:
        check_dim(mean_direction.shape[-1] if mean_direction.ndim else 0)
        self.mean_direction, self.scale = torch.broadcast_tensors(mean_direction, scale)
        self.normalizer = normalizer
        super().__init__(self.scale.shape[:-1], self.scale.shape[-1:], validate_args)

    @property
    def mode(self) -> Tensor:
        """The direction of highest density."""
        if self.normalizer == "exact":
            return nivmf_mode(self.mean_direction, self.scale)
        return self.mean_direction

    def expand(self, batch_shape: _Shape, _instance: object = None) -> NonIsotropicVonMisesFisher:
        """The same distribution, repeated to ``batch_shape``."""
        mean, scale = (x.expand(*batch_shape, *self.event_shape) for x in (self.mean_direction, self.scale))
        return NonIsotropicVonMisesFisher(mean, scale, self.normalizer, validate_args=False)

    def rsample(self, sample_shape: _Shape = ()) -> Tensor:
        """(*sample_shape, ..., D), with gradients; torch's own generator."""
        draws = sample_nivmf(self.mean_direction, self.scale, Size(sample_shape).numel())
        return draws.reshape(*sample_shape, *self.batch_shape, *self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of unit vectors (..., D)."""
        if self._validate_args:
            self._validate_sample(value)
        return nivmf_log_density(value, self.mean_direction, self.scale, self.normalizer)


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl_vmf_vmf(p: VonMisesFisher, q: VonMisesFisher) -> Tensor:
    cosine = (p.mean_direction * q.mean_direction).sum(dim=-1)
    return kl_divergence(p.concentration, q.concentration, cosine, p.dim)
