"""Fit an embedding and the last stages of its backbone on cached maps of the trunk. The loss is the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import RecipeError
from ..modeling_probabilistic_embedding import ProbabilisticEmbeddingModel, ProbabilisticEmbeddingOutput
from .backbone_cut import BackboneCut
from .fit import warm_up_then_cosine
from .trunk_cache import TrunkCache

#: An epoch: batches of image numbers (B,) in the cache, each with whatever targets the loss wants for them.
Batches = Callable[[np.random.Generator], Iterator[tuple[np.ndarray, Any]]]
#: (mean_direction (B, D), concentration (B,), targets) -> loss, a scalar.
EmbeddingLoss = Callable[[Tensor, Tensor, Any], Tensor]
CHUNK = 64


def fit_embedding(
    model: ProbabilisticEmbeddingModel,
    cut: BackboneCut,
    cache: TrunkCache,
    batches: Batches,
    loss: EmbeddingLoss,
    groups: Sequence[Mapping[str, Any]],
    *,
    epochs: int,
    seed: int,
    weight_decay: float = 0.0,
    advance: Callable[[int], None] = lambda images: None,
) -> None:
    """AdamW over all parameters of ``groups``, with a linear warm-up and a cosine to 0. Batch norm stays frozen.

    Every image of a batch is taken in one of its cached views, drawn anew each time. The same seed gives the same
    weights on the same machine.

    Args:
        model: trained in place, left in eval mode with nothing that requires a gradient.
        cut: of ``model.backbone``.
        batches: called once an epoch; each time it must give as many batches.
        groups: of the optimiser: ``params`` and ``lr``, perhaps ``weight_decay``.
        advance: told how many images each step used.

    Raises:
        RecipeError: the loss is not finite; there is no batch.
    """
    generator = np.random.default_rng(seed)
    model.eval()
    cut.rest.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW([dict(group) for group in groups], weight_decay=weight_decay, fused=True)
    rates = [group["lr"] for group in optimiser.param_groups]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for parameter in parameters:
        parameter.requires_grad_(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(epochs):
            epoch_batches = list(batches(generator))
            if not epoch_batches:
                raise RecipeError("the images make no batch; lower batch_size")
            for number, (images, targets) in enumerate(epoch_batches):
                progress = warm_up_then_cosine(
                    epoch * len(epoch_batches) + number, epochs * len(epoch_batches)
                )
                for group, rate in zip(optimiser.param_groups, rates, strict=True):
                    group["lr"] = rate * progress
                maps = cache.read(images, generator.integers(cache.view_count, size=len(images)))
                output = model.read_out(cut.rest(maps))
                value = loss(output.mean_direction, output.concentration, targets)
                if not value.isfinite():
                    raise RecipeError(
                        f"the loss became {value.item()} in epoch {epoch}; lower the learning rate"
                    )
                optimiser.zero_grad(set_to_none=True)
                value.backward()
                optimiser.step()
                advance(len(images))
    for parameter in parameters:
        parameter.requires_grad_(False)


def parameter_groups(
    model: ProbabilisticEmbeddingModel, cut: BackboneCut, learning_rate: float, embedding_factor: float
) -> list[dict[str, Any]]:
    """Groups of the optimiser for a model: what is trained of its backbone, and the layers after it."""
    late: list[nn.Parameter] = [*model.embedding.parameters()]
    if model.concentration_head is not None:
        late += model.concentration_head.parameters()
    return [
        {"params": list(cut.rest.parameters()), "lr": learning_rate},
        {"params": late, "lr": learning_rate * embedding_factor},
    ]


@torch.no_grad()
def start_at_principal_axes(model: ProbabilisticEmbeddingModel, pooled: Tensor, concentration: float) -> None:
    """Begin with an embedding that keeps what it can of pooled features (N, F): their D principal axes.

    The mean over these images becomes 0 and their mean concentration ``concentration``. With a head for the
    concentration, it begins by giving every image that value. Axes that the features do not have stay random, of
    the length of the last one that they do.

    Raises:
        RecipeError: all features are the same.
    """
    pooled = pooled.double()
    mean = pooled.mean(dim=0)
    _, spread, axes = torch.linalg.svd(pooled - mean, full_matrices=False)
    axes = axes[: model.config.dim][spread[: model.config.dim] > 1e-6 * max(1.0, float(mean.abs().max()))]
    if not len(axes):
        raise RecipeError("all images have the same features: there is nothing to learn an embedding from")
    weight = torch.nn.functional.normalize(model.embedding.weight.double(), dim=1)
    weight[: len(axes)] = axes
    scale = model.config.concentration_scale
    if model.concentration_head is None:
        length = torch.linalg.vector_norm((pooled - mean) @ weight.mT, dim=1).mean()
        weight *= concentration / (scale * length)
    else:
        last = model.concentration_head[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        last.bias.fill_(float(np.log(concentration / scale)))  # type: ignore[operator]
    model.embedding.weight.copy_(weight)
    model.embedding.bias.copy_(-(weight @ mean))


@torch.inference_mode()
def embed_images(
    model: ProbabilisticEmbeddingModel,
    cut: BackboneCut,
    cache: TrunkCache,
    images: np.ndarray,
    view: int = 0,
) -> ProbabilisticEmbeddingOutput:
    """The model's output for cached images (N,) in one view; by default the whole image."""
    parts = [
        model.read_out(cut.rest(cache.read(images[start : start + CHUNK], view)))
        for start in range(0, len(images), CHUNK)
    ]
    return ProbabilisticEmbeddingOutput(
        **{name: torch.cat([part[name] for part in parts]) for name in parts[0].keys()}  # noqa: SIM118
    )


def class_batches(labels: np.ndarray, batch_size: int, images_per_class: int) -> Batches:
    """Every image once an epoch, in groups of ``images_per_class`` of one class, the groups in random order.

    A class with a number of images that is no multiple gives a smaller group; a class with one image takes part.
    The last batch of an epoch may be smaller than ``batch_size``, not than two images.

    Args:
        labels: (N,) class numbers.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def epoch(generator: np.random.Generator) -> Iterator[tuple[np.ndarray, Tensor]]:
        groups = [
            group
            for images in members
            for group in np.split(
                generator.permutation(images), range(images_per_class, len(images), images_per_class)
            )
        ]
        order = np.concatenate([groups[i] for i in generator.permutation(len(groups))])
        for start in range(0, len(order), batch_size):
            images = order[start : start + batch_size]
            if len(images) > 1:
                yield images, torch.from_numpy(labels[images])

    return epoch
