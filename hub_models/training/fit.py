"""Fit uncertainty heads on cached features."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import BackboneError
from ..image_features import ImageFeatures, select_inputs
from ..modeling_image_uncertainty import ImageUncertaintyModel
from ..uncertainty_head import UncertaintyHead
from .feature_cache import FeatureCache
from .recipe import TrainingRecipe

STATISTICS_ROWS = 20_000
WARM_UP_SHARE = 0.05
#: Head inputs up to this size are made once and held in memory; larger ones are made anew for each batch.
MEMORY_BUDGET = 256 * 2**20
CHUNK = 4096


class CachedInputs:
    """Head inputs of cached views, read from disk as they are asked for.

    Args:
        model: makes logits of pooled features, where an input needs them.
        cache: features of all images.
        images: (n,) indices of the images to use.
        views: (v,) indices of the views to use; row r is view ``views[r % v]`` of image ``images[r // v]``.
        names: as in `hub_models.image_features.select_inputs`.
    """

    def __init__(
        self,
        model: ImageUncertaintyModel,
        cache: FeatureCache,
        images: np.ndarray,
        views: np.ndarray,
        names: list[str],
    ) -> None:
        self.model, self.cache, self.images, self.views, self.names = model, cache, images, views, names

    def __len__(self) -> int:
        return len(self.images) * len(self.views)

    @torch.inference_mode()
    def read(self, rows: np.ndarray) -> Tensor:
        """(len(rows), width) inputs."""
        at = self.images[rows // len(self.views)], self.views[rows % len(self.views)]
        nothing = torch.empty(len(rows), 0)
        wants_logits = "class_statistics" in self.names
        wants_stages = {"stages", "stage_spread"} & set(self.names)
        pooled = (
            torch.from_numpy(self.cache.pooled[at]) if wants_logits or "pooled" in self.names else nothing
        )
        stages = torch.from_numpy(self.cache.stages[at]) if wants_stages else nothing
        logits = self.model.classify(pooled) if wants_logits else None
        return select_inputs(ImageFeatures(pooled, stages, logits), self.names)


def fit_head(
    head: UncertaintyHead,
    inputs: CachedInputs,
    target: np.ndarray,
    loss: Callable[[Tensor, Tensor], Tensor],
    recipe: TrainingRecipe,
    seed: int,
    advance: Callable[[int], None] = lambda rows: None,
) -> None:
    """Fit every member of a head, each from its own initialisation and order of rows.

    Args:
        target: (rows of ``inputs``,) losses to predict.
        loss: of (uncertainty (B,), target (B,)).
        advance: told how many rows each step used.

    Raises:
        BackboneError: inputs or targets that are not finite.
    """
    generator = np.random.default_rng(seed)
    sample = inputs.read(np.sort(generator.permutation(len(inputs))[:STATISTICS_ROWS]))
    head.fit_input_statistics(sample.mean(dim=0), sample.std(dim=0))
    values = torch.from_numpy(np.ascontiguousarray(target, dtype=np.float32))
    _require_finite(values)
    read = _standardised_reader(head, inputs)
    for number, member in enumerate(head.members):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * 1000 + number)
            for layer in member.modules():
                if isinstance(layer, nn.Linear):
                    layer.reset_parameters()
        _fit_member(member, read, values, loss, recipe, np.random.default_rng([seed, number]), advance)
    head.requires_grad_(False)


def _standardised_reader(head: UncertaintyHead, inputs: CachedInputs) -> Callable[[np.ndarray], Tensor]:
    """A function from row numbers to standardised inputs, held in memory where they fit ``MEMORY_BUDGET``.

    Every pass and every member asks for the same rows again, and class statistics cost a run of the
    classifier.
    """

    def read(rows: np.ndarray) -> Tensor:
        standardised = (inputs.read(rows) - head.input_mean) / head.input_scale
        _require_finite(standardised)
        return standardised

    width = len(head.input_mean)
    if 4 * width * len(inputs) > MEMORY_BUDGET:
        return read
    held = torch.empty(len(inputs), width)
    for start in range(0, len(inputs), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(inputs)))
        held[rows[0] : rows[-1] + 1] = read(rows)
    return lambda rows: held.index_select(0, torch.from_numpy(rows))  # thrice as fast as held[rows]


def _fit_member(
    member: nn.Module,
    read: Callable[[np.ndarray], Tensor],
    target: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    recipe: TrainingRecipe,
    generator: np.random.Generator,
    advance: Callable[[int], None],
) -> None:
    optimiser = torch.optim.AdamW(
        member.parameters(),
        lr=recipe.learning_rate,
        betas=(0.8, 0.95),
        weight_decay=recipe.weight_decay,
        fused=True,  # one pass over the weights instead of ten: a third of a step's time otherwise
    )
    batches = len(target) // recipe.batch_size
    step, steps = 0, recipe.passes * batches
    for _ in range(recipe.passes):
        order = generator.permutation(len(target))
        for rows in order[: batches * recipe.batch_size].reshape(batches, recipe.batch_size):
            optimiser.param_groups[0]["lr"] = recipe.learning_rate * warm_up_then_cosine(step, steps)
            uncertainty = nn.functional.softplus(member(read(rows)).squeeze(-1)) + 1e-6
            optimiser.zero_grad(set_to_none=True)
            loss(uncertainty, target[torch.from_numpy(rows)]).backward()
            optimiser.step()
            advance(len(rows))
            step += 1


def warm_up_then_cosine(step: int, steps: int) -> float:
    """Factor of the learning rate: up to 1 over the first 5 % of the steps, then a cosine towards 0."""
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _require_finite(values: Tensor) -> None:
    if not torch.isfinite(values).all():
        raise BackboneError("cached features or targets hold NaN or infinity; check the backbone's weights")
