"""Recipe in, trained model out: cache features once, fit heads on them, store the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError

from ..assembly import new_model
from ..backbones import eval_transform, image_processor, require_known
from ..configuration_image_uncertainty import ImageUncertaintyConfig
from ..datasets_builder import open_dataset
from ..errors import RecipeError
from ..image_features import ImageFeatures
from ..image_sources import DatasetSource, ImageSource, open_images
from ..modeling_image_uncertainty import ImageUncertaintyModel
from ..progress import progress_bar
from ..uncertainty_head import UncertaintyHead
from .feature_cache import FeatureCache, build_feature_cache
from .fit import CachedInputs, fit_head
from .losses import LOSSES
from .recipe import DataRecipe, Recipe
from .targets import combine, make_targets, require_labels

if TYPE_CHECKING:
    from accelerate import Accelerator

#: Images behind the reference distribution: many for its 513 quantiles, few enough to hold their features.
MAX_REFERENCE = 10_000


@dataclass(frozen=True)
class TrainedModel:
    """A trained model and the images that no head saw.

    Attributes:
        held_out: indices into the recipe's images.
        cache: features of all of the recipe's images.
    """

    model: ImageUncertaintyModel
    held_out: np.ndarray
    cache: FeatureCache


def train(
    recipe: Recipe, cache_root: Path, *, accelerator: Accelerator | None = None, show_progress: bool = True
) -> TrainedModel:
    """Train every read-out of a recipe.

    Heads see only cached, detached features: the backbone stays as it is. The reference distribution comes
    from the whole views of the held-out images, at most ``MAX_REFERENCE`` of them.

    Args:
        cache_root: where feature caches lie; one that fits is used again.
        accelerator: splits the caching over processes; heads are small and fitted in each alike.

    Raises:
        RecipeError: the data does not fit the recipe.
        BackboneError, FeatureCacheError, ImageSourceError: as their modules say.
    """
    source = _open(recipe.data)
    model = new_model(_configure(recipe), recipe.weights)
    labels = _task_labels(recipe, source, model.config.num_classes)
    cache = build_feature_cache(
        model,
        image_processor(recipe.backbone),
        source,
        recipe.views,
        cache_root,
        accelerator=accelerator,
        show_progress=show_progress,
    )
    images, held_out = _split(cache, recipe)
    _fit_read_outs(model, recipe, cache, images, labels, show_progress)
    spaced = np.linspace(0, len(held_out) - 1, min(len(held_out), MAX_REFERENCE)).astype(int)
    reference = features_at(model, cache, held_out[spaced])
    model.reference.fit_read_outs(model.uncertainties(reference))
    model.set_reference(reference, f"held-out images of {recipe.data.images.removeprefix('dataset:')}")
    return TrainedModel(model.eval(), held_out, cache)


def features_at(model: ImageUncertaintyModel, cache: FeatureCache, images: np.ndarray) -> ImageFeatures:
    """Features of the whole views of some cached images."""
    with torch.inference_mode():
        pooled = torch.from_numpy(cache.pooled[images, 0])
        return ImageFeatures(pooled, torch.from_numpy(cache.stages[images, 0]), model.classify(pooled))


def _fit_read_outs(
    model: ImageUncertaintyModel,
    recipe: Recipe,
    cache: FeatureCache,
    images: np.ndarray,
    labels: Sequence[int] | None,
    show_progress: bool,
) -> None:
    targets = make_targets(_target_names(recipe), model, cache, images, labels, recipe.seed)
    kinds = np.asarray(recipe.views.kinds)
    for number, (name, read_out) in enumerate(recipe.read_outs.items()):
        views = np.flatnonzero(np.isin(kinds, read_out.views))
        inputs = CachedInputs(model, cache, images, views, read_out.inputs)
        target = combine(targets, read_out.target)[:, views].reshape(-1)
        if len(inputs) < recipe.training.batch_size:
            raise RecipeError(
                f"{len(inputs)} views make no batch of {recipe.training.batch_size}; lower batch_size"
            )
        steps = recipe.training.passes * (len(inputs) // recipe.training.batch_size) * read_out.members
        total = steps * recipe.training.batch_size
        with progress_bar(f"fitting {name}", total, unit="views", shown=show_progress) as advance:
            seed = recipe.seed * 100 + number
            head = cast(UncertaintyHead, model.heads[name])
            fit_head(head, inputs, target, LOSSES[read_out.loss], recipe.training, seed, advance)


def _target_names(recipe: Recipe) -> set[str]:
    return {target for read_out in recipe.read_outs.values() for target in read_out.target}


def _task_labels(recipe: Recipe, source: ImageSource, num_classes: int) -> Sequence[int] | None:
    """Labels as class numbers of the backbone's classifier, None where no target needs them."""
    if _target_names(recipe) == {"instance"}:
        return None
    return require_labels(_classifier_labels(source, num_classes), num_classes)


def _classifier_labels(source: ImageSource, num_classes: int) -> Sequence[int] | None:
    """Labels translated by the names of their classes.

    Class names that are WordNet ids are looked up in ImageNet-1k; any other names must be as many as the
    classifier has classes, since counting a folder's few classes from 0 would silently mislabel every image.
    """
    if source.labels is None or source.class_names is None:
        return source.labels
    from timm.data import ImageNetInfo

    numbers = {name: i for i, name in enumerate(ImageNetInfo("imagenet-1k").label_names())}
    if num_classes == len(numbers) and set(source.class_names) <= set(numbers):
        return [numbers[source.class_names[label]] for label in source.labels]
    if len(source.class_names) != num_classes:
        raise RecipeError(
            f"the images have {len(source.class_names)} classes, the classifier {num_classes}: name class "
            "folders by WordNet id (n01440764), or use target instance, which needs no labels"
        )
    return source.labels


def _configure(recipe: Recipe) -> ImageUncertaintyConfig:
    import timm
    from timm.data import ImageNetInfo

    require_known(recipe.backbone)
    num_classes = timm.get_pretrained_cfg(recipe.backbone).num_classes
    labels = {}
    if num_classes == 1000:
        info = ImageNetInfo("imagenet-1k")
        names = [info.index_to_description(i).split(",")[0] for i in range(num_classes)]
        labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    heads = {
        name: {"inputs": r.inputs, "width": r.width, "depth": r.depth, "members": r.members}
        for name, r in recipe.read_outs.items()
    }
    try:
        return ImageUncertaintyConfig(
            backbone=recipe.backbone,
            num_classes=num_classes,
            read_outs=heads,
            default_weights=dict(recipe.default),
            image_size=eval_transform(recipe.backbone)["input_size"][-1],
            **labels,
        )
    except StrictDataclassError as error:
        raise RecipeError(f"{recipe.name}: {error.__cause__ or error}") from error


def _split(cache: FeatureCache, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Images to train on and images held out, both sorted; unreadable ones are in neither."""
    readable = np.flatnonzero(cache.readable)
    shuffled = np.random.default_rng(recipe.seed).permutation(readable)
    count = round(recipe.data.held_out * len(readable))
    if not 2 <= count < len(readable):
        raise RecipeError(
            f"data.held_out keeps {count} of {len(readable)} images apart; at least 2 are needed"
        )
    return np.sort(shuffled[count:]), np.sort(shuffled[:count])


def _open(data: DataRecipe) -> ImageSource:
    if not data.images.startswith("dataset:"):
        return open_images(data.images, data.split)
    source = open_dataset(data.images.removeprefix("dataset:"), data.split)
    if not data.where:
        return source
    unknown = sorted(set(data.where) - set(source.dataset.column_names))
    if unknown:
        raise RecipeError(
            f"data.where names {', '.join(unknown)}; columns are {', '.join(source.dataset.column_names)}"
        )
    columns = {name: source.dataset[name] for name in data.where}
    rows = [i for i in range(len(source)) if all(columns[n][i] == value for n, value in data.where.items())]
    if not rows:
        raise RecipeError(f"data.where is {data.where}; no row of {data.images} is like that")
    return DatasetSource(source.dataset.select(rows))


def with_seed(recipe: Recipe, seed: int) -> Recipe:
    """The same recipe under another seed of split, initialisation and order; cached views stay the same."""
    return dataclasses.replace(recipe, seed=seed)
