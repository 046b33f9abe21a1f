"""Cosines between draws of posteriors, what Monte Carlo losses of pairs are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import DistributionError
from ..von_mises_fisher import check_directions, checked_concentration, sample
from .circle_draws import draw_angles

#: Mean directions (..., D) and concentrations (...).
Posterior = tuple[Tensor, Tensor]


def pair_similarities(
    anchor: Posterior,
    positive: Posterior,
    negative: Posterior,
    samples: int,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """z'z+ (S, B) and z'z- (S, B, M) of S draws of each posterior, with exact gradients in their parameters.

    On the circle angles alone are drawn, which is several times cheaper, and in float32.

    Args:
        anchor, positive: (B, D) and (B,).
        negative: (B, M, D) and (B, M).
        samples: S, at least 1.
        generator: source of the draws.

    Raises:
        DistributionError: a zero vector, a concentration that is negative, infinite or NaN, D or S outside its domain.
    """
    if samples < 1:
        raise DistributionError(f"the number of samples must be at least 1, not {samples}")
    if anchor[0].shape[-1] > 2:
        z, like, unlike = (sample(*pair, samples, generator) for pair in (anchor, positive, negative))
        return (z * like).sum(dim=-1), (z.unsqueeze(-2) * unlike).sum(dim=-1)
    z, like, unlike = (_angles(*pair, samples, generator) for pair in (anchor, positive, negative))
    return torch.cos(z - like), torch.cos(z.unsqueeze(-1) - unlike)


def _angles(mean: Tensor, concentration: Tensor, samples: int, generator: torch.Generator | None) -> Tensor:
    kappa = checked_concentration(concentration, mean.shape[-1])
    check_directions(mean)
    turn = draw_angles(kappa.flatten(), samples, generator).view(samples, *kappa.shape)
    x, y = mean.float().unbind(dim=-1)
    return turn + torch.atan2(y, x)
