"""Image sets that a recipe can name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import RecipeError
from ..training.recipe import read_recipe_table
from .checkpoints import RECIPE, open_model
from .cifar import load_cifar10
from .digits import load_digits
from .labelled_images import LabelledImages

IMAGE_SETS: dict[str, Callable[[str], LabelledImages]] = {"digits": load_digits, "cifar10": load_cifar10}


def load_images(name: str, split: str, count: int | None = None) -> LabelledImages:
    """The images of one split, ``train`` or ``test``; the first ``count`` of them if it is given.

    Raises:
        RecipeError: no image set has this name.
    """
    if name not in IMAGE_SETS:
        raise RecipeError(f"data.images is {name!r}; choose from {', '.join(IMAGE_SETS)}")
    images = IMAGE_SETS[name](split)
    return images.first(count or len(images))


def training_images(name: str | Path) -> LabelledImages:
    """The images that a generator was trained on, as its recipe names them.

    Raises:
        CheckpointError: there is no such generator.
        RecipeError: its recipe names images that are not known.
    """
    data = read_recipe_table(open_model(name).folder / RECIPE)["data"]
    return load_images(data["images"], "train", data.get("count"))
