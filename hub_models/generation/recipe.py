"""Recipes of the small models of this package: a class-conditional generator, a classifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..errors import RecipeError
from ..families import GENERATION
from ..training.recipe import build, read_recipe_table
from .image_sets import IMAGE_SETS

FLOW_TASK = GENERATION
CLASSIFIER_TASK = "small-image-classification"


@dataclass(frozen=True)
class DataRecipe:
    """Table ``[data]``.

    Attributes:
        images: name of an image set; its training split is used.
        count: how many of its images, in its own order; 0 for all.
        flip: whether each image is mirrored at random (never for digits).
    """

    images: str
    count: int = 0
    flip: bool = False


@dataclass(frozen=True)
class NetworkRecipe:
    """Table ``[network]``, of a `diffusers.UNet2DModel`.

    Attributes:
        channels: of each resolution, the finest first; multiples of 8.
        attention: resolutions with self-attention, by their place in ``channels``.
        layers: residual blocks at each resolution.
        dropout: within these.
    """

    channels: list[int]
    attention: list[int]
    layers: int = 1
    dropout: float = 0.0


@dataclass(frozen=True)
class FlowTraining:
    """Table ``[training]`` of a generator: AdamW (betas 0.9, 0.99), constant rate after a linear warm-up.

    Attributes:
        steps: in all; a training that is run again with more steps goes on where it was.
        ema: decay of the moving average of the weights, which is what is kept.
        label_dropout: share of images trained without their class, for guidance.
    """

    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-2
    ema: float = 0.999
    label_dropout: float = 0.1


@dataclass(frozen=True)
class ClassifierTraining:
    """Table ``[training]`` of a classifier: AdamW, one cycle of the learning rate.

    Attributes:
        passes: over the images.
        shift: largest random shift of an image, pixels.
        width: channels of its first layer.
    """

    passes: int = 20
    batch_size: int = 100
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    shift: int = 2
    width: int = 32


@dataclass(frozen=True)
class FlowRecipe:
    """A generator. ``licence`` is that of its weights and follows the images."""

    name: str
    task: str
    summary: str
    licence: str
    data: DataRecipe
    network: NetworkRecipe
    training: FlowTraining
    seed: int = 0


@dataclass(frozen=True)
class ClassifierRecipe:
    """A classifier. ``licence`` is that of its weights and follows the images."""

    name: str
    task: str
    summary: str
    licence: str
    data: DataRecipe
    training: ClassifierTraining = field(default_factory=ClassifierTraining)
    seed: int = 0


R = TypeVar("R", FlowRecipe, ClassifierRecipe)


def load_flow_recipe(path: Path) -> FlowRecipe:
    """Read and check the recipe of a generator.

    Raises:
        RecipeError: names the file, the field, and what is expected there.
    """
    tables = {"data": DataRecipe, "network": NetworkRecipe, "training": FlowTraining}
    recipe = _load(path, FlowRecipe, FLOW_TASK, tables)
    network, training = recipe.network, recipe.training
    if not network.channels or any(channels % 8 or channels < 8 for channels in network.channels):
        raise RecipeError(f"{path}: network.channels is {network.channels}; they must be multiples of 8")
    if not set(network.attention) <= set(range(len(network.channels))):
        raise RecipeError(
            f"{path}: network.attention is {network.attention}; resolutions are 0 to {len(network.channels) - 1}"
        )
    if not 0 <= training.label_dropout < 1 or not 0 <= training.ema < 1 or not 0 <= network.dropout < 1:
        raise RecipeError(
            f"{path}: training.label_dropout {training.label_dropout}, training.ema {training.ema} and "
            f"network.dropout {network.dropout} must be at least 0 and below 1"
        )
    _positive(path, steps=training.steps, batch_size=training.batch_size, layers=network.layers)
    return recipe


def load_classifier_recipe(path: Path) -> ClassifierRecipe:
    """Read and check the recipe of a classifier.

    Raises:
        RecipeError: names the file, the field, and what is expected there.
    """
    recipe = _load(
        path, ClassifierRecipe, CLASSIFIER_TASK, {"data": DataRecipe, "training": ClassifierTraining}
    )
    training = recipe.training
    _positive(path, passes=training.passes, batch_size=training.batch_size, width=training.width)
    return recipe


def _load(path: Path, kind: type[R], task: str, tables: dict[str, Any]) -> R:
    table = read_recipe_table(path)
    try:
        parts = {name: build(part, table.get(name, {}), name) for name, part in tables.items()}
        recipe = build(kind, {**table, **parts}, "the top level")
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    if recipe.task != task:
        raise RecipeError(f"{path}: task is {recipe.task!r}; this trainer makes {task}")
    if recipe.data.images not in IMAGE_SETS:
        raise RecipeError(
            f"{path}: data.images is {recipe.data.images!r}; choose from {', '.join(IMAGE_SETS)}"
        )
    if recipe.data.count < 0:
        raise RecipeError(f"{path}: data.count is {recipe.data.count}; it must be at least 0 (0 for all)")
    _positive(path, learning_rate=recipe.training.learning_rate)
    return recipe


def _positive(path: Path, **values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise RecipeError(f"{path}: {name} is {value}; it must be above 0")
