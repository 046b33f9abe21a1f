"""Train a probabilistic embedding on images that people disagree about, after a warm-up on images with one label."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..backbones import image_processor
from ..checkpoint_folder import round_trained, save_checkpoint
from ..datasets_builder import open_dataset
from ..errors import RecipeError
from ..modeling_probabilistic_embedding import ProbabilisticEmbeddingModel
from ..paths import cache_dir
from ..progress import progress_bar
from .backbone_cut import BackboneCut
from .fit_embedding import embed_images, fit_embedding
from .recipe_soft_labels import SoftLabelRecipe, SoftLabels, load_soft_label_recipe
from .soft_label_positives import InBatchMCInfoNCE, partner_batches
from .train_probabilistic_embedding import new_embedding, train_embedding
from .trunk_cache import TrunkCache, build_trunk_cache
from .views import Views

FOLD_SEED = 0


@dataclass(frozen=True)
class VotedImages:
    """Images with the votes of people, dealt into folds.

    Attributes:
        cache: the trunk's maps.
        shares: (N, C) of the votes of each image.
        labels: (N,) the official class.
        validation, test, train: numbers of the images of each part.
    """

    cache: TrunkCache
    shares: np.ndarray
    labels: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    train: np.ndarray


def train_soft_label_embedding(recipe: Path, folder: Path) -> None:
    """Train a recipe and write it as a checkpoint.

    Raises:
        HubModelsError: as `load_soft_label_recipe`, `train_soft_labels` and `save_checkpoint` say.
    """
    model = train_soft_labels(load_soft_label_recipe(recipe), cache_dir() / "features")
    save_checkpoint(model, folder, recipe)


def train_soft_labels(
    recipe: SoftLabelRecipe, cache_root: Path, *, show_progress: bool = True
) -> ProbabilisticEmbeddingModel:
    """Both phases. Nothing is learned from the validation and test folds.

    Raises:
        RecipeError: no votes, or a loss that diverges; and as `train_embedding` says.
        BackboneError, FeatureCacheError, ImageSourceError: as their modules say.
    """
    warm = train_embedding(recipe.warm_up, cache_root, show_progress=show_progress)
    for name, reason in warm.skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    model, cut = new_embedding(recipe.warm_up)
    model.backbone.load_state_dict(warm.model.backbone.state_dict())
    model.embedding.load_state_dict(warm.model.embedding.state_dict())
    voted = voted_images(recipe, cut, cache_root, show_progress=show_progress)
    fit_soft_labels(model, cut, voted, recipe.soft_labels, recipe.warm_up.seed, show_progress=show_progress)
    round_trained(model)
    return model


def fit_soft_labels(
    model: ProbabilisticEmbeddingModel,
    cut: BackboneCut,
    voted: VotedImages,
    soft: SoftLabels,
    seed: int,
    *,
    show_progress: bool = True,
) -> None:
    """The second phase: the concentrations alone, on pooled features of the frozen backbone.

    As in the paper's controlled experiment, directions come first and concentrations after them.
    """
    pooled = _pooled(model, cut, voted)
    _start_at(model, soft.start_concentration)
    frozen = dataclasses.replace(cut, rest=nn.Identity())
    assert model.concentration_head is not None
    head = {"params": list(model.concentration_head.parameters()), "lr": soft.learning_rate}
    batches = partner_batches(voted.shares[voted.train], voted.train, soft.batch_size)
    loss = InBatchMCInfoNCE(
        soft.positive_concentration, soft.samples, soft.negatives, cast(Any, soft.variant)
    )
    with progress_bar(
        "training on soft labels", 2 * soft.epochs * len(voted.train), shown=show_progress
    ) as advance:
        fit_embedding(
            model,
            frozen,
            pooled,
            batches,
            loss,
            [head],
            epochs=soft.epochs,
            seed=seed,
            weight_decay=soft.weight_decay,
            advance=advance,
        )


def voted_images(
    recipe: SoftLabelRecipe, cut: BackboneCut, cache_root: Path, *, show_progress: bool = True
) -> VotedImages:
    """The images of the recipe's soft labels, dealt into folds always in the same way.

    Raises:
        RecipeError: the data set has no votes, an image cannot be read, or has no vote.
    """
    soft, warm_up = recipe.soft_labels, recipe.warm_up
    source = open_dataset(soft.images.removeprefix("dataset:"), soft.split)
    if "votes" not in source.dataset.column_names or source.labels is None:
        raise RecipeError(f"{soft.images}: has no columns votes and label; choose a data set with both")
    processor = image_processor(warm_up.backbone, warm_up.network.image_size)
    cache = build_trunk_cache(
        cut.trunk, warm_up.backbone, processor, source, Views(), cache_root, show_progress=show_progress
    )
    votes = np.asarray(source.dataset["votes"], dtype=np.float64)
    usable = cache.cached.readable & (votes.sum(axis=1) > 0)
    if not usable.all():
        name = source.names[int((~usable).argmax())]
        raise RecipeError(
            f"{name}: cannot be read or has no votes; correct it, so that the folds stay as they are"
        )
    validation, test, *train = folds(len(votes), soft.folds)
    shares = votes / votes.sum(axis=1, keepdims=True)
    return VotedImages(
        cache, shares, np.asarray(source.labels), validation, test, np.sort(np.concatenate(train))
    )


def folds(count: int, parts: int) -> list[np.ndarray]:
    """Numbers 0 to ``count`` - 1 dealt into parts at random, always in the same way."""
    order = np.random.default_rng(FOLD_SEED).permutation(count)
    return [np.sort(part) for part in np.array_split(order, parts)]


class _PooledCache:
    """Pooled features in the place of a `TrunkCache`."""

    view_count = 1

    def __init__(self, pooled: Tensor) -> None:
        self.pooled = pooled

    def read(self, images: np.ndarray, views: np.ndarray | int = 0) -> Tensor:
        """(B, F)."""
        return self.pooled[torch.from_numpy(images)]


def _pooled(model: ProbabilisticEmbeddingModel, cut: BackboneCut, voted: VotedImages) -> Any:
    every = np.arange(len(voted.shares))
    pooled = embed_images(model, cut, voted.cache, every).pooler_output
    assert pooled is not None
    return _PooledCache(pooled.clone())


@torch.no_grad()
def _start_at(model: ProbabilisticEmbeddingModel, concentration: float) -> None:
    """Every image begins with the same concentration."""
    assert model.concentration_head is not None
    last = cast(nn.Linear, model.concentration_head[-1])
    nn.init.zeros_(last.weight)
    last.bias.fill_(float(np.log(concentration / model.config.concentration_scale)))
