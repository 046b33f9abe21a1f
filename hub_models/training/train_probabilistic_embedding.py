"""Recipe in, probabilistic embedding out: cache the trunk's maps once, train the last stages and the proxies."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError

from ..backbones import fill_backbone, image_processor
from ..checkpoint_folder import round_trained, save_checkpoint
from ..configuration_probabilistic_embedding import ProbabilisticEmbeddingConfig
from ..datasets_builder import open_dataset
from ..errors import RecipeError
from ..image_sources import ImageSource, open_images
from ..modeling_probabilistic_embedding import ProbabilisticEmbeddingModel
from ..paths import cache_dir
from ..progress import progress_bar
from .backbone_cut import BackboneCut, cut_backbone
from .embedding_losses import ProxyObjective, make_objective
from .fit_embedding import (
    class_batches,
    embed_images,
    fit_embedding,
    parameter_groups,
    start_at_principal_axes,
)
from .recipe_probabilistic_embedding import ProbabilisticEmbeddingRecipe, load_embedding_recipe
from .trunk_cache import TrunkCache, build_trunk_cache
from .views import Views

#: Images whose features decide how the embedding starts.
MAX_START = 10_000


@dataclass(frozen=True)
class LabelledMaps:
    """Cached maps of images whose classes are known.

    Attributes:
        images: (N,) numbers in the cache of those that could be read.
        labels: (N,) class numbers from 0, without gaps.
        class_names: of them.
    """

    cache: TrunkCache
    images: np.ndarray
    labels: np.ndarray
    class_names: list[str]

    def of_classes(self, classes: Sequence[int]) -> LabelledMaps:
        """Only the images of some classes, numbered anew in the given order."""
        number = {label: i for i, label in enumerate(classes)}
        kept = np.isin(self.labels, classes)
        labels = np.array([number[label] for label in self.labels[kept].tolist()], dtype=np.int64)
        names = [self.class_names[label] for label in classes]
        return LabelledMaps(self.cache, self.images[kept], labels, names)


@dataclass(frozen=True)
class TrainedEmbedding:
    """A trained model.

    Attributes:
        cut: of its backbone, as it was for training.
        objective: its loss, with the proxies.
        skipped: name of each image that could not be read, and why.
    """

    model: ProbabilisticEmbeddingModel
    cut: BackboneCut
    objective: ProxyObjective
    skipped: dict[str, str]


def train_probabilistic_embedding(recipe: Path, folder: Path) -> None:
    """Train a recipe and write it as a checkpoint.

    Raises:
        HubModelsError: as `load_embedding_recipe`, `train_embedding` and `save_checkpoint` say.
    """
    trained = train_embedding(load_embedding_recipe(recipe), cache_dir() / "features")
    for name, reason in trained.skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    save_checkpoint(trained.model, folder, recipe)


def train_embedding(
    recipe: ProbabilisticEmbeddingRecipe, cache_root: Path, *, show_progress: bool = True
) -> TrainedEmbedding:
    """Train what a recipe describes on all of its images.

    Args:
        cache_root: where caches lie; one that fits is used again.

    Raises:
        RecipeError: the images have no labels or one class, or the loss diverges.
        BackboneError, FeatureCacheError, ImageSourceError: as their modules say.
    """
    model, cut = new_embedding(recipe)
    maps = labelled_maps(recipe, cut, recipe.data.split, recipe.views, cache_root, show_progress)
    return train_on_maps(recipe, model, cut, maps, show_progress=show_progress)


def train_on_maps(
    recipe: ProbabilisticEmbeddingRecipe,
    model: ProbabilisticEmbeddingModel,
    cut: BackboneCut,
    maps: LabelledMaps,
    *,
    show_progress: bool = True,
) -> TrainedEmbedding:
    """Train an untrained model of a recipe on given images, for instance on some of its classes only.

    Returns:
        The same model, trained, its proxies in place, all that was trained rounded as in a checkpoint.

    Raises:
        RecipeError: fewer than two classes, or the loss diverges.
    """
    training, classes = recipe.training, len(maps.class_names)
    if classes < 2:
        raise RecipeError("the images are all of one class; an embedding is learned from at least two")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        objective = make_objective(recipe.loss, classes, recipe.network.dim)
    spaced = np.linspace(0, len(maps.images) - 1, min(len(maps.images), MAX_START)).astype(int)
    pooled = embed_images(model, cut, maps.cache, maps.images[spaced]).pooler_output
    start_at_principal_axes(model, pooled, training.start_concentration)
    if recipe.loss.warm_start:
        with torch.no_grad():
            start = model.read_out(pooled)
        objective.warm_start(start.mean_direction, torch.from_numpy(maps.labels[spaced]))
    batches = class_batches(maps.labels, training.batch_size, training.images_per_class)
    groups = parameter_groups(model, cut, training.learning_rate, training.embedding_factor)
    total = training.epochs * len(maps.images)
    with progress_bar(f"training {recipe.name}", total, shown=show_progress) as advance:
        fit_embedding(
            model,
            cut,
            maps.cache,
            lambda generator: ((maps.images[rows], labels) for rows, labels in batches(generator)),
            objective,
            [*groups, *objective.groups(training)],
            epochs=training.epochs,
            seed=recipe.seed,
            weight_decay=training.weight_decay,
            advance=advance,
        )
    model.keep_proxies(maps.class_names, *objective.proxies())
    round_trained(model)
    return TrainedEmbedding(model, cut, objective, maps.cache.cached.skipped)


def new_embedding(recipe: ProbabilisticEmbeddingRecipe) -> tuple[ProbabilisticEmbeddingModel, BackboneCut]:
    """An untrained model of a recipe with its backbone's weights, in eval mode, and where it is cut.

    Raises:
        RecipeError: the network cannot be built.
        BackboneError: the weights do not fit, or the backbone cannot be cut.
    """
    network = recipe.network
    try:
        config = ProbabilisticEmbeddingConfig(
            backbone=recipe.backbone,
            dim=network.dim,
            concentration_from=network.concentration_from,
            head_width=network.head_width,
            image_size=network.image_size,
        )
    except StrictDataclassError as error:
        raise RecipeError(f"{recipe.name}: {error.__cause__ or error}") from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = ProbabilisticEmbeddingModel(config)
    fill_backbone(model.backbone, recipe.backbone, recipe.weights)
    model.requires_grad_(False)
    cut = cut_backbone(model.backbone, network.trained_stages)
    model.config.trained_backbone = cut.trained
    return model.eval(), cut


def labelled_maps(
    recipe: ProbabilisticEmbeddingRecipe,
    cut: BackboneCut,
    split: str,
    views: Views,
    cache_root: Path,
    show_progress: bool = True,
) -> LabelledMaps:
    """The trunk's maps of a split of the recipe's images, with their classes.

    Raises:
        RecipeError: the images have no labels.
    """
    source = _open(recipe.data.images, split)
    if source.labels is None:
        raise RecipeError(
            f"{recipe.data.images}: the images have no labels; give a folder a class, or add a label column"
        )
    processor = image_processor(recipe.backbone, recipe.network.image_size)
    cache = build_trunk_cache(
        cut.trunk, recipe.backbone, processor, source, views, cache_root, show_progress=show_progress
    )
    images = np.flatnonzero(cache.cached.readable)
    classes, labels = np.unique(np.asarray(source.labels)[images], return_inverse=True)
    return LabelledMaps(cache, images, labels.astype(np.int64), _class_names(source, classes.tolist()))


def with_seed(recipe: ProbabilisticEmbeddingRecipe, seed: int) -> ProbabilisticEmbeddingRecipe:
    """The same recipe under another seed of initialisation, order and views; the cached views stay the same."""
    return dataclasses.replace(recipe, seed=seed)


def _class_names(source: ImageSource, classes: list[int]) -> list[str]:
    """Of classes by number: the source's own names, else the folder that all images of the class lie in."""
    if source.class_names is not None:
        return [source.class_names[number] for number in classes]
    folders: dict[int, set[str]] = {number: set() for number in classes}
    for name, label in zip(source.names, source.labels or (), strict=True):
        if label in folders:
            folders[label].add(name.rpartition("/")[0])
    names = [folders[number].pop() if len(folders[number]) == 1 else "" for number in classes]
    distinct = len(set(names)) == len(names) and all(names)
    return names if distinct else [str(number) for number in classes]


def _open(images: str, split: str) -> ImageSource:
    if images.startswith("dataset:"):
        return open_dataset(images.removeprefix("dataset:"), split)
    return open_images(images, split)
