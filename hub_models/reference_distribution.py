"""Where an image stands among reference images: percentile of its uncertainty, distance of its features.

Published code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import initialization as init

NUM_QUANTILES = 513
#: Share of the reference images whose features count as inside.
INSIDE_SHARE = 0.99


class ReferenceDistribution(nn.Module):
    """Quantiles of each read-out and moments of the stage features over a reference set of images.

    A raw uncertainty means nothing to a person; "more uncertain than 93 % of ordinary photos" does. That
    sentence is only as good as the reference: on X-rays it misleads, which is why the distance to the
    reference is part of every output and why `ImageUncertaintyModel.set_reference` can replace it.

    Args:
        read_outs: names of the read-outs; the model's default is stored beside them as the last row.
        feature_width: number of stage features.
    """

    location: Tensor
    scale: Tensor
    quantiles: Tensor
    feature_mean: Tensor
    feature_scale: Tensor
    distance_limit: Tensor

    def __init__(self, read_outs: list[str], feature_width: int) -> None:
        super().__init__()
        self.read_outs = read_outs
        rows = len(read_outs)
        self.register_buffer("location", torch.zeros(rows))
        self.register_buffer("scale", torch.ones(rows))
        self.register_buffer("quantiles", torch.full((rows + 1, NUM_QUANTILES), torch.nan))
        self.register_buffer("feature_mean", torch.zeros(feature_width))
        self.register_buffer("feature_scale", torch.ones(feature_width))
        self.register_buffer("distance_limit", torch.full((1,), torch.nan))

    def standardise(self, uncertainty: Tensor, read_out: str) -> Tensor:
        """Log-uncertainty in reference standard deviations, (B,): comparable between read-outs."""
        row = self.read_outs.index(read_out)
        return (uncertainty.log() - self.location[row]) / self.scale[row]

    def percentile(self, uncertainty: Tensor, read_out: str | None = None) -> Tensor:
        """Share of reference images that are more certain, (B,) in [0, 1], linear between stored quantiles.

        NaN where no reference has been stored.

        Args:
            read_out: a name, or None for the model's default uncertainty.
        """
        row = len(self.read_outs) if read_out is None else self.read_outs.index(read_out)
        knots = self.quantiles[row].to(uncertainty.dtype)
        first = torch.searchsorted(knots, uncertainty, right=False)
        last = torch.searchsorted(knots, uncertainty, right=True)
        upper = first.clamp(1, NUM_QUANTILES - 1)
        fraction = (uncertainty - knots[upper - 1]) / (knots[upper] - knots[upper - 1])
        between = upper - 1 + fraction.clamp(0, 1)
        # On a knot, or on several equal ones (a discrete read-out), take their middle.
        position = torch.where(last > first, (first + last - 1) / 2, between)
        return position / (NUM_QUANTILES - 1)

    def distance(self, stages: Tensor) -> Tensor:
        """How far stage features lie from the reference, (B,); above 1 = farther than 99 % of its images.

        The root mean square of the features in reference standard deviations, relative to its 99 % quantile.
        """
        return self._spread(stages) / self.distance_limit

    def _spread(self, stages: Tensor) -> Tensor:
        return ((stages - self.feature_mean) / self.feature_scale).square().mean(dim=1).sqrt()

    @torch.no_grad()
    def fit_read_outs(self, uncertainties: dict[str, Tensor]) -> None:
        """Store location and scale of each named read-out, (N,) each."""
        logs = [uncertainties[name].double().log() for name in self.read_outs]
        self.location.copy_(torch.stack([v.mean() for v in logs]))
        scale = torch.stack([v.std(correction=0) for v in logs])
        self.scale.copy_(torch.where(scale > 1e-12, scale, torch.ones_like(scale)))

    @torch.no_grad()
    def fit_quantiles(self, uncertainties: dict[str, Tensor], default: Tensor) -> None:
        """Store the quantiles of each read-out and of the default uncertainty, (N,) each."""
        levels = torch.linspace(0, 1, NUM_QUANTILES, dtype=torch.float64)
        rows = [uncertainties[name] for name in self.read_outs] + [default]
        self.quantiles.copy_(torch.stack([torch.quantile(row.double(), levels) for row in rows]))

    @torch.no_grad()
    def fit_features(self, stages: Tensor) -> None:
        """Store moments of the stage features, (N, S), and the distance that 99 % of them keep."""
        self.feature_mean.copy_(stages.double().mean(dim=0))
        scale = stages.double().std(dim=0, correction=0)
        self.feature_scale.copy_(torch.where(scale > 1e-6, scale, torch.ones_like(scale)))
        spread = self._spread(stages.to(self.feature_mean.dtype)).double()
        self.distance_limit.copy_(torch.quantile(spread, INSIDE_SHARE).reshape(1).clamp_min(1e-12))

    def init_buffers(self) -> None:
        """Called by the model's ``_init_weights`` for buffers that a checkpoint lacks."""
        init.zeros_(self.location)
        init.ones_(self.scale)
        init.constant_(self.quantiles, float("nan"))
        init.zeros_(self.feature_mean)
        init.ones_(self.feature_scale)
        init.constant_(self.distance_limit, float("nan"))
