"""Draws from von Mises-Fisher distributions, with exact gradients. Published code.

A draw is z = w mu + sqrt(1 - w^2) v, with v uniform on the unit sphere orthogonal to mu and w = mu'z from

    p(w) ~ (1 - w^2)^((D-3)/2) exp(kappa w).

The cosine w comes from the envelope of Ulrich (1984) and Wood (1994) in a form that loses no digits at any kappa.
A uniform direction has a cosine x with the mean; the Moebius map w = (x0 + x) / (1 + x0 x) moves it towards the
mean, and with y = x0 x it is kept with probability

    exp( (D-1) (y / (1+y) - log(1+y)) ),     x0 = 2 kappa / (D-1 + sqrt((D-1)^2 + 4 kappa^2)),

0.66 or more on average for every D and kappa. From D = 4 on, the first proposal of every draw costs nothing: it is
the cosine of the Gaussian vector that gives v as well, which does not depend on v. Rejected draws alone are
repeated, at most `MOST_ROUNDS` times (where less than one draw in 1e27 would be left); D = 3 inverts its
distribution function instead.

What is kept of a cosine is delta = 1 - w, which at kappa = 1e6 float32 would otherwise not resolve.

The gradient does not know how a draw was made: as kappa grows each z moves along c(w) (mu - w z), the flow that
keeps it a draw (see `hub_models.vmf_flow`), and as mu turns, z turns with it along the shortest way.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .vmf_flow import flow_factor

#: Rounds of proposals; a bound that is never met: 0.34^60 < 1e-27.
MOST_ROUNDS = 60
#: Below this dimension Gaussian vectors nearly parallel to mu are common enough to be orthogonalised twice.
_LOW_DIM = 16
#: Gaussian vectors with a cosine this close to 1 are drawn again. Chance brings none in high dimension; a direction
#: made by the generator and seed of the draws does.
_PARALLEL = 1e-6
#: Entries of a slice of `_dot`.
_SLICE = 2**17
#: Proposals of a round for the last few draws.
_ROUND_SIZE = 512


@torch.compiler.disable
def draw(mean: Tensor, concentration: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Unit vectors (n, R, D) around unit vectors ``mean`` (R, D), ``concentration`` (R,) in float64, both valid.

    Differentiable once in both. ``torch.compile`` breaks its graph here: how many rounds it takes is chance.
    """
    return _Draw.apply(mean, concentration, n, generator)


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, concentration: Tensor, n: int, generator: torch.Generator | None
    ) -> Tensor:
        cosines = _Cosines(concentration, n, mean.shape[1], mean.dtype, generator)
        sample = _around_circle if mean.shape[1] == 2 else _around_sphere
        draws, delta = sample(mean, cosines)
        ctx.save_for_backward(mean, concentration, draws, delta)
        return draws

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        mean, concentration, draws, delta = ctx.saved_tensors
        cosine = 1 - delta
        along_mean = _dot(gradient, mean)
        grad_mean = grad_concentration = None
        if ctx.needs_input_grad[0]:
            turned = (cosine * along_mean).sum(dim=0).unsqueeze(-1) * mean
            pulled = torch.einsum("nr,nrd->rd", cosine, gradient)
            grad_mean = pulled + turned - torch.einsum("nr,nrd->rd", along_mean, draws)
        if ctx.needs_input_grad[1]:
            outward = along_mean - cosine * _dot(gradient, draws)
            factor = flow_factor(delta, concentration, mean.shape[1])
            grad_concentration = (factor * outward).sum(dim=0, dtype=torch.float64)
        return grad_mean, grad_concentration, None, None


class _Cosines:
    """Cosines with the mean, as delta = 1 - w, of ``n`` draws for each of R concentrations, (n, R)."""

    def __init__(
        self,
        concentration: Tensor,
        n: int,
        dim: int,
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> None:
        self.dim = dim
        self.shape = (n, len(concentration))
        self.options: dict[str, Any] = {"dtype": dtype, "device": concentration.device}
        self.generator = generator
        self.concentration = concentration.to(dtype)
        root = (4 * concentration.square() + (dim - 1) ** 2).sqrt()
        ratio = (dim - 1) / (2 * concentration + root)  # Wood's b
        self.tilt = (2 * concentration / (dim - 1 + root)).to(dtype)  # x0
        self.rest = (2 * ratio / (1 + ratio)).to(dtype)  # 1 - x0

    def normal(self) -> Tensor:
        """Gaussian vectors (n, R, D)."""
        return torch.empty(*self.shape, self.dim, **self.options).normal_(generator=self.generator)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in (0, 1]."""
        return torch.rand(*shape, generator=self.generator, **self.options).neg_().add_(1)

    def in_three_dimensions(self) -> Tensor:
        """By inversion: log(u + (1 - u) exp(-2 kappa)) / -kappa."""
        kappa = self.concentration.clamp_min(torch.finfo(self.concentration.dtype).tiny ** 0.5)
        share = 1 - self.uniform(*self.shape)
        return (share * torch.expm1(-2 * kappa)).log1p() / -kappa

    def from_proposals(self, proposal: Tensor) -> Tensor:
        """Keep or replace the first proposals, cosines x (n, R)."""
        delta, kept = self._judge(proposal, self.tilt, self.rest)
        delta = delta.flatten()
        waiting = (~kept).flatten().nonzero().squeeze(1)
        for _ in range(MOST_ROUNDS):
            if not len(waiting):
                break
            row = waiting % self.shape[1]
            # A few stragglers get many proposals at once and take the first that passes: fewer, fuller rounds.
            proposals = self.propose(max(1, _ROUND_SIZE // len(waiting)), len(waiting))
            again, kept = self._judge(proposals, self.tilt[row], self.rest[row])
            first = kept.byte().argmax(dim=0, keepdim=True)
            delta[waiting] = again.gather(0, first).squeeze(0)
            waiting = waiting[~kept.any(dim=0)]
        return delta.view(self.shape)

    def propose(self, *shape: int) -> Tensor:
        """The first coordinate x of uniform directions."""
        if self.dim == 2:
            return torch.rand(*shape, generator=self.generator, **self.options).mul_(math.pi).cos_()
        first = torch.empty(shape, **self.options).normal_(generator=self.generator)
        half = torch.full(shape, (self.dim - 1) / 2, **self.options)
        others = torch._standard_gamma(
            half, generator=self.generator
        )  # half of chi-square with D - 1 degrees
        return first / torch.addcmul(2 * others, first, first).sqrt_()

    def _judge(self, proposal: Tensor, tilt: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """delta of a proposal x, and whether it passes. 1 + y is at least 1 - x0, whatever the rounding."""
        shrunk = torch.maximum((proposal * tilt).add_(1), rest)
        log_ratio = shrunk.reciprocal().add_(shrunk.log()).sub_(1).mul_(1 - self.dim)
        kept = self.uniform(*proposal.shape).log_() <= log_ratio
        return (1 - proposal).mul_(rest).div_(shrunk), kept


def _around_circle(mean: Tensor, cosines: _Cosines) -> tuple[Tensor, Tensor]:
    """D = 2: v is one of two vectors, and no Gaussian is needed."""
    delta = cosines.from_proposals(cosines.propose(*cosines.shape))
    side = cosines.uniform(*cosines.shape).sub_(0.5)
    sine = (delta * (2 - delta)).clamp_min_(0).sqrt_().copysign_(side)
    x, y = mean.unbind(dim=-1)
    cosine = 1 - delta
    return torch.stack([cosine * x - sine * y, cosine * y + sine * x], dim=-1), delta


def _around_sphere(mean: Tensor, cosines: _Cosines) -> tuple[Tensor, Tensor]:
    """D of 3 or more; one large tensor, worked on in place."""
    vectors = cosines.normal()
    along, length = _along_and_length(vectors, mean)
    parallel = along.abs() > (1 - _PARALLEL) * length
    if bool(parallel.any()):
        vectors[parallel] = cosines.normal()[parallel]
        along, length = _along_and_length(vectors, mean)
    cosine = along / length
    delta = cosines.in_three_dimensions() if cosines.dim == 3 else cosines.from_proposals(cosine)
    if cosines.dim < _LOW_DIM:
        for _ in range(2):
            vectors.addcmul_(_dot(vectors, mean).unsqueeze(-1), mean, value=-1)
        along, across = torch.zeros_like(along), torch.linalg.vector_norm(vectors, dim=-1)
    else:
        across = length * (1 - cosine.square()).sqrt()
    scale = (delta * (2 - delta)).clamp_min_(0).sqrt_().div_(across)
    # scale (g - along mu) + w mu, without a pass for the bracket.
    vectors.mul_(scale.unsqueeze(-1))
    return vectors.addcmul_((1 - delta - scale * along).unsqueeze(-1), mean), delta


def _along_and_length(vectors: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    return _dot(vectors, mean), torch.linalg.vector_norm(vectors, dim=-1)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """left'right (n, R) of vectors (n, R, D) with others of that shape or (R, D).

    On a CPU in slices whose products stay in the cache: a temporary of full size takes longer than the arithmetic.
    """
    if left.device.type != "cpu" or left.numel() <= _SLICE:
        return torch.linalg.vecdot(left, right)
    right = right.expand_as(left)
    size = max(1, _SLICE // left[0].numel())
    product = torch.empty_like(left[:size])
    result = left.new_empty(left.shape[:-1])
    for start in range(0, len(left), size):
        part = slice(start, start + size)
        slot = product[: len(left[part])]
        torch.sum(torch.mul(left[part], right[part], out=slot), dim=-1, out=result[part])
    return result
