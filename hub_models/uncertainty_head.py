"""The loss-prediction head of Pretrained Visual Uncertainties (Kirchhof et al., 2024). Published code."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from transformers import initialization as init


class UncertaintyHead(nn.Module):
    """A small MLP from frozen features to one positive number, higher = less certain.

    Linear, LeakyReLU, (depth - 1) x [Linear, LeakyReLU], Linear to 1, softplus, + 1e-6: the paper's head with
    width 512 and depth 2 as defaults. Inputs are standardised by stored statistics of the training features,
    since stage and class statistics live on very different scales. The outputs of ``members`` such MLPs,
    trained from different seeds, are averaged.

    Args:
        in_features: width of the input.
        width: hidden units.
        depth: hidden layers; 0 gives a linear head.
        members: MLPs that are averaged.
    """

    input_mean: Tensor
    input_scale: Tensor

    def __init__(self, in_features: int, width: int = 512, depth: int = 2, members: int = 1) -> None:
        super().__init__()
        self.register_buffer("input_mean", torch.zeros(in_features))
        self.register_buffer("input_scale", torch.ones(in_features))
        self.members = nn.ModuleList(_mlp(in_features, width, depth) for _ in range(members))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, in_features) -> (B,), each above 0."""
        standardised = (inputs - self.input_mean) / self.input_scale
        raw = torch.stack([member(standardised).squeeze(-1) for member in self.members])
        return nn.functional.softplus(raw).mean(dim=0) + 1e-6

    @torch.no_grad()
    def fit_input_statistics(self, mean: Tensor, scale: Tensor) -> None:
        """Store mean and standard deviation, each (in_features,); constant columns keep a scale of 1."""
        self.input_mean.copy_(mean)
        self.input_scale.copy_(torch.where(scale > 1e-6, scale, torch.ones_like(scale)))

    def init_buffers(self) -> None:
        """Called by the model's ``_init_weights`` for buffers that a checkpoint lacks."""
        init.zeros_(self.input_mean)
        init.ones_(self.input_scale)


def _mlp(in_features: int, width: int, depth: int) -> nn.Sequential:
    sizes = [in_features] + [width] * depth
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))
