"""Image sets that a recipe can name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import RecipeError
from ..training.recipe import read_table
from .checkpoints import RECIPE, open_model
from .cifar import load_cifar10
from .digits import load_digits
from .labelled_images import LabelledImages

IMAGE_SETS: dict[str, Callable[[str], LabelledImages]] = {"digits": load_digits, "cifar10": load_cifar10}


def load_images(name: str, split: str) -> LabelledImages:
    """The images of one split, ``train`` or ``test``.

    Raises:
        RecipeError: no image set has this name.
    """
    if name not in IMAGE_SETS:
        raise RecipeError(f"data.images is {name!r}; choose from {', '.join(IMAGE_SETS)}")
    return IMAGE_SETS[name](split)


def training_images(name: str | Path) -> LabelledImages:
    """The images that a generator was trained on, as its recipe names them.

    Raises:
        CheckpointError: there is no such generator.
        RecipeError: its recipe names images that are not known.
    """
    data = read_table(open_model(name).folder / RECIPE)["data"]
    images = load_images(data["images"], "train")
    return images.first(data.get("count") or len(images))
