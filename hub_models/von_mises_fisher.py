"""The von Mises-Fisher distribution on the unit sphere of R^D, as functions. Published code.

Density at a unit vector z: C_D(kappa) exp(kappa mu'z), with a unit vector mu, the mean direction, and kappa, the
concentration; C_D(kappa) = kappa^v / ((2 pi)^(D/2) I_v(kappa)), v = D/2 - 1.

Every function takes a tensor of concentrations, broadcasts, is differentiable twice, on any device, and computes
in float64: results in float32 and float64 are good to their last digits for D from 2 to 4096 and kappa from 0 (the
uniform distribution) to 1e6. Half precision comes back as float32. Pairs of distributions are given by the
cosine between their mean directions, so that a matrix of pairs costs one matrix product. A negative, infinite or
NaN concentration and D < 2 raise `DistributionError`; the check is left out inside ``torch.compile``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .bessel_ratio import bessel_ratio, bessel_ratio_slope, log_scaled_bessel
from .errors import DistributionError
from .vmf_sampling import draw

_LOG_2PI = math.log(2 * math.pi)
_NEWTON_STEPS = 8


def log_normalizer(concentration: Tensor, dim: int) -> Tensor:
    """log C_D(kappa), the log-density at angle 90 degrees from the mean; its derivative is -A_D(kappa).

    Args:
        concentration: kappa, at least 0, of any shape.
        dim: D, at least 2, the dimension of the space around the sphere.

    Raises:
        DistributionError: a concentration or dimension outside its domain.
    """
    kappa = checked_concentration(concentration, dim)
    return _log_normalizer(kappa.square(), dim).to(result_dtype(concentration))


def mean_resultant_length(concentration: Tensor, dim: int) -> Tensor:
    """A_D(kappa) = E[mu'z] = I_{D/2}(kappa) / I_{D/2-1}(kappa), in [0, 1); arguments as `log_normalizer`."""
    kappa = checked_concentration(concentration, dim)
    return _mean_resultant_length(kappa, dim).to(result_dtype(concentration))


def concentration_of(length: Tensor, dim: int) -> Tensor:
    """The inverse of `mean_resultant_length`: kappa with A_D(kappa) = ``length``, the maximum-likelihood estimate.

    Newton's method from a bound of Amos (1974), which is exact to first order at both ends.

    Args:
        length: mean resultant length, in [0, 1), of any shape.
        dim: D, at least 2.

    Raises:
        DistributionError: a length outside [0, 1), or D < 2.
    """
    check_dim(dim)
    if not torch.compiler.is_compiling() and not bool(((length >= 0) & (length < 1)).all()):
        raise DistributionError(
            "mean resultant lengths must be in [0, 1): at 1 every vector would be the mean"
        )
    return _Inverse.apply(length.double(), dim).to(result_dtype(length))


def entropy(concentration: Tensor, dim: int) -> Tensor:
    """Differential entropy -E[log p(z)] in nats, -log C_D(kappa) - kappa A_D(kappa)."""
    kappa = checked_concentration(concentration, dim)
    value = -_log_normalizer(kappa.square(), dim) - kappa * _mean_resultant_length(kappa, dim)
    return value.to(result_dtype(concentration))


def log_density(cosine: Tensor, concentration: Tensor, dim: int) -> Tensor:
    """log C_D(kappa) + kappa mu'z of values whose cosine with the mean direction is given, broadcast."""
    kappa = checked_concentration(concentration, dim)
    value = _log_normalizer(kappa.square(), dim) + kappa * cosine.double()
    return value.to(result_dtype(cosine, concentration))


def kl_divergence(first: Tensor, second: Tensor, cosine: Tensor, dim: int) -> Tensor:
    """KL(p || q) = log C(k_p) - log C(k_q) + A(k_p) (k_p - k_q cosine) in nats, at least 0.

    Args:
        first: concentration of p.
        second: concentration of q.
        cosine: between the two mean directions; all three broadcast.
        dim: D, at least 2.
    """
    p, q = checked_concentration(first, dim), checked_concentration(second, dim)
    shift = _mean_resultant_length(p, dim) * (p - q * cosine.double())
    value = _log_normalizer(p.square(), dim) - _log_normalizer(q.square(), dim) + shift
    return value.to(result_dtype(first, second, cosine))


def log_probability_product(
    first: Tensor, second: Tensor, cosine: Tensor, dim: int, power: float = 1.0
) -> Tensor:
    """log of the integral of p^power q^power (Jebara et al., 2004): closeness of two distributions.

    power (log C(k_p) + log C(k_q)) - log C(power |k_p mu_p + k_q mu_q|). With power 1 it is the expected
    likelihood (ELK), with 1/2 the Bhattacharyya coefficient, which is at most 1, so at most 0 here.

    Args:
        first: concentration of p.
        second: concentration of q.
        cosine: between the two mean directions; all three broadcast.
        dim: D, at least 2.
        power: above 0.
    """
    if not power > 0:
        raise DistributionError(f"the power of a probability product must be above 0, not {power}")
    p, q = checked_concentration(first, dim), checked_concentration(second, dim)
    joint = (p - q).square() + 2 * p * q * (1 + cosine.double()).clamp_min(0)
    apart = _log_normalizer(p.square(), dim) + _log_normalizer(q.square(), dim)
    value = power * apart - _log_normalizer(power**2 * joint, dim)
    return value.to(result_dtype(first, second, cosine))


def log_expected_likelihood(first: Tensor, second: Tensor, cosine: Tensor, dim: int) -> Tensor:
    """log of the integral of p q (ELK): `log_probability_product` with power 1."""
    return log_probability_product(first, second, cosine, dim)


def log_bhattacharyya(first: Tensor, second: Tensor, cosine: Tensor, dim: int) -> Tensor:
    """log of the Bhattacharyya coefficient, at most 0: `log_probability_product` with power 1/2."""
    return log_probability_product(first, second, cosine, dim, power=0.5)


def sample(
    mean_direction: Tensor, concentration: Tensor, n: int, generator: torch.Generator | None = None
) -> Tensor:
    """``n`` independent draws of each distribution, with the exact gradient in direction and concentration.

    See `hub_models.vmf_sampling` for the method. The gradient is that of expectations: each draw moves with its
    distribution so that it stays a draw of it (implicit reparameterisation, Figurnov et al., 2018).

    Args:
        mean_direction: unit vectors, (..., D), D at least 2. Zero vectors are refused; others are taken to be
            of length 1, so normalise them where that is not given.
        concentration: (...), broadcast with the directions; 0 gives uniform draws.
        n: how many, at least 1.
        generator: source of randomness on the device of the tensors; None takes torch's own.

    Returns:
        Unit vectors (n, ..., D), float32 for half precision.

    Raises:
        DistributionError: a concentration, direction, dimension or ``n`` outside its domain.
    """
    dim = mean_direction.shape[-1] if mean_direction.ndim else 0
    kappa = checked_concentration(concentration, dim)
    if n < 1:
        raise DistributionError(f"the number of samples must be at least 1, not {n}")
    check_directions(mean_direction)
    dtype = result_dtype(mean_direction, concentration)
    shape = torch.broadcast_shapes(mean_direction.shape[:-1], kappa.shape)
    rows = mean_direction.to(dtype).expand(*shape, dim).reshape(-1, dim)
    draws = draw(rows, kappa.expand(shape).reshape(-1), n, generator)
    return draws.reshape(n, *shape, dim)


def check_dim(dim: int) -> None:
    """Refuse spheres that are not connected: D must be at least 2."""
    if dim < 2:
        raise DistributionError(
            f"directions need at least 2 dimensions, not {dim}: on a line there are only two"
        )


def checked_concentration(concentration: Tensor, dim: int) -> Tensor:
    """The concentration in float64.

    Raises:
        DistributionError: D < 2, or a value that is negative, infinite or NaN.
    """
    check_dim(dim)
    if not torch.compiler.is_compiling():
        right = (concentration >= 0) & concentration.isfinite()
        if not bool(right.all()):
            wrong = concentration[~right].flatten()[0].item()
            raise DistributionError(
                f"a concentration must be finite and at least 0, got {wrong}; 0 is uniform, and for a point mass "
                "use the mean direction itself"
            )
    return concentration.double()


def check_directions(directions: Tensor) -> None:
    """Refuse zero vectors, infinite and NaN entries, (..., D); inside ``torch.compile`` nothing is checked."""
    if torch.compiler.is_compiling():
        return
    lengths = torch.linalg.vector_norm(directions.detach().float(), dim=-1)
    if not bool(((lengths > 0) & lengths.isfinite()).all()):
        raise DistributionError("a mean direction is a zero vector or not finite: it points nowhere")


def result_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if one of them is, else float32."""
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def _log_normalizer(squared: Tensor, dim: int) -> Tensor:
    return -0.5 * dim * _LOG_2PI - log_scaled_bessel(squared, dim / 2 - 1)


def _mean_resultant_length(kappa: Tensor, dim: int) -> Tensor:
    return kappa * bessel_ratio(kappa.square(), dim / 2 - 1)


class _Inverse(torch.autograd.Function):
    """kappa of A_D(kappa), with the derivative 1 / A_D'(kappa) of an inverse function."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length: Tensor, dim: int) -> Tensor:
        # kappa / (a + sqrt(kappa^2 + (a + 1)^2)) <= A_D(kappa), a = (D - 1) / 2, solved for kappa.
        a = (dim - 1) / 2
        rest = (1 - length) * (1 + length)
        kappa = length * (a + (a * a + rest * (2 * a + 1)).sqrt()) / rest
        for _ in range(_NEWTON_STEPS):
            excess = _mean_resultant_length(kappa, dim) - length
            kappa = (kappa - excess / _slope(kappa, dim)).clamp_min(0)
        return kappa

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.dim = inputs[1]
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kappa,) = ctx.saved_tensors
        return gradient / _slope(kappa, ctx.dim), None


def _slope(kappa: Tensor, dim: int) -> Tensor:
    """A_D'(kappa), with a derivative of its own: the slope of kappa r(kappa^2)."""
    y, order = kappa.square(), dim / 2 - 1
    return bessel_ratio(y, order) + 2 * y * bessel_ratio_slope(y, order)
