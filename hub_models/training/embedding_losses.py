"""Proxy losses by the name that a recipe gives: ours, and three of pytorch-metric-learning as baselines.

All of them see embeddings kappa mu of the images; the baselines normalise them, so that their norms mean nothing.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .proxy_losses import ProxyLoss
from .recipe_probabilistic_embedding import BASELINES, EmbeddingTraining, ProxyLossRecipe


class ProxyObjective(Protocol):
    """A loss with a proxy for each class."""

    def __call__(self, mean_direction: Tensor, concentration: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch: (B, D), (B,), (B,) -> a scalar."""
        ...

    def groups(self, training: EmbeddingTraining) -> list[dict[str, Any]]:
        """Of the optimiser."""
        ...

    def warm_start(self, mean_direction: Tensor, labels: Tensor) -> None:
        """Point each proxy at its class, (N, D) and (N,)."""
        ...

    def proxies(self) -> tuple[Tensor, Tensor]:
        """Unit directions (C, D) and concentrations (C, D) or (C, 1)."""
        ...

    def logits(self, mean_direction: Tensor, concentration: Tensor) -> Tensor:
        """(B, C), as its softmax has them."""
        ...


def make_objective(recipe: ProxyLossRecipe, num_classes: int, dim: int) -> ProxyObjective:
    """The loss of a recipe, with proxies for ``num_classes`` classes."""
    if recipe.name in BASELINES:
        return _Baseline(recipe, num_classes, dim)
    return _Probabilistic(recipe, num_classes, dim)


class _Probabilistic(nn.Module):
    """A `ProxyLoss`."""

    def __init__(self, recipe: ProxyLossRecipe, num_classes: int, dim: int) -> None:
        super().__init__()
        self.loss = ProxyLoss(
            num_classes,
            dim,
            cast(Any, recipe.name),
            concentration=recipe.concentration,
            temperature=recipe.temperature,
            temperature_placement=cast(Any, recipe.temperature_placement),
            samples=recipe.samples,
            normalizer=cast(Any, recipe.normalizer),
            guidance_weight=recipe.guidance_weight,
        )

    def forward(self, mean_direction: Tensor, concentration: Tensor, labels: Tensor) -> Tensor:
        return self.loss(mean_direction * concentration.unsqueeze(-1), labels)

    def groups(self, training: EmbeddingTraining) -> list[dict[str, Any]]:
        rate = training.learning_rate
        return [
            {"params": [parameter], "lr": rate * factor, "weight_decay": 0.0}
            for parameter, factor in (
                (self.loss.directions, training.proxy_factor),
                (self.loss.concentrations, training.concentration_factor),
                (self.loss.log_temperature, training.temperature_factor),
            )
        ]

    def warm_start(self, mean_direction: Tensor, labels: Tensor) -> None:
        self.loss.warm_start(mean_direction, labels)

    @torch.no_grad()
    def proxies(self) -> tuple[Tensor, Tensor]:
        directions = self.loss.proxy_directions()
        return directions, self.loss.proxy_concentrations().reshape(len(directions), -1)

    def logits(self, mean_direction: Tensor, concentration: Tensor) -> Tensor:
        return self.loss.logits(mean_direction * concentration.unsqueeze(-1))


class _Baseline(nn.Module):
    """A loss of pytorch-metric-learning that has one proxy a class."""

    def __init__(self, recipe: ProxyLossRecipe, num_classes: int, dim: int) -> None:
        from pytorch_metric_learning import losses

        super().__init__()
        self.scale = 1 / recipe.temperature
        self.loss: nn.Module
        if recipe.name == "proxy_anchor":
            self.loss = losses.ProxyAnchorLoss(num_classes, dim, margin=0.1, alpha=self.scale)
        elif recipe.name == "proxy_nca":
            # With the positive proxy in the denominator and a scale, it is ProxyNCA++ (Teh et al., ECCV 2020). On
            # unit vectors a squared distance is 2 - 2 cos, hence half the scale.
            self.loss = losses.ProxyNCALoss(num_classes, dim, softmax_scale=self.scale / 2)
        else:
            self.loss = losses.NormalizedSoftmaxLoss(num_classes, dim, temperature=recipe.temperature)
        self._by_column = recipe.name == "cosine_softmax"

    @property
    def _weights(self) -> nn.Parameter:
        return cast(nn.Parameter, self.loss.W if self._by_column else self.loss.proxies)

    def forward(self, mean_direction: Tensor, concentration: Tensor, labels: Tensor) -> Tensor:
        return self.loss(mean_direction * concentration.unsqueeze(-1), labels)

    def groups(self, training: EmbeddingTraining) -> list[dict[str, Any]]:
        rate = training.learning_rate * training.proxy_factor
        return [{"params": [self._weights], "lr": rate, "weight_decay": 0.0}]

    @torch.no_grad()
    def warm_start(self, mean_direction: Tensor, labels: Tensor) -> None:
        directions, _ = self.proxies()
        sums = torch.zeros_like(directions).index_add_(0, labels, mean_direction.to(directions.dtype))
        known = torch.linalg.vector_norm(sums, dim=-1, keepdim=True) > 1e-6
        started = torch.where(known, functional.normalize(sums, dim=-1), directions)
        self._weights.copy_(started.mT if self._by_column else started)

    @torch.no_grad()
    def proxies(self) -> tuple[Tensor, Tensor]:
        weights = self._weights.mT if self._by_column else self._weights
        return functional.normalize(weights, dim=-1), torch.ones(len(weights), 1)

    def logits(self, mean_direction: Tensor, concentration: Tensor) -> Tensor:
        return self.scale * mean_direction @ self.proxies()[0].mT
