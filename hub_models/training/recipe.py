"""recipe.toml: everything a checkpoint is made of. One dataclass a table, every unknown field refused."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..configuration_image_uncertainty import HEAD_INPUTS
from ..errors import RecipeError
from .losses import LOSSES
from .views import VIEW_KINDS, Views

TARGETS = ("cross_entropy", "mistake", "instance")


@dataclass(frozen=True)
class DataRecipe:
    """Table ``[data]``.

    Attributes:
        images: ``dataset:<name>`` for one of datasets_scripts, or a folder, tar or Parquet folder.
        split: of a data set.
        held_out: share of the images, drawn by the seed, that no head sees; they make the reference distribution.
        where: column -> value, keep only those rows of a data set.
    """

    images: str
    split: str = "train"
    held_out: float = 0.2
    where: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingRecipe:
    """Table ``[training]``: AdamW with betas (0.8, 0.95), linear warm-up over 5 % of the steps, cosine to 0."""

    passes: int = 6
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4


@dataclass(frozen=True)
class ReadOutRecipe:
    """Table ``[read_outs.<name>]``.

    Attributes:
        inputs: see `ImageUncertaintyConfig.read_outs`.
        target: name of a target -> weight.
        loss: ``order`` or ``l2``.
        views: kinds of views to train on.
        width, depth, members: of the head.
    """

    inputs: list[str]
    target: dict[str, float]
    loss: str = "order"
    views: list[str] = field(default_factory=lambda: list(VIEW_KINDS))
    width: int = 512
    depth: int = 2
    members: int = 1


@dataclass(frozen=True)
class Recipe:
    """The whole file.

    Attributes:
        weights: of the backbone, see `hub_models.backbones.load_weights`.
        licence: of the trained weights; follows the images they were trained on.
        default: read-out -> weight in the model's one default uncertainty.
    """

    name: str
    task: str
    summary: str
    licence: str
    backbone: str
    weights: str
    data: DataRecipe
    read_outs: dict[str, ReadOutRecipe]
    default: dict[str, float]
    views: Views = field(default_factory=Views)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    seed: int = 0


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        RecipeError: names the file, the field, and what is expected there.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"{path}: no such recipe; see hub_models/checkpoints/*/recipe.toml for examples"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error
    try:
        read_outs = {
            name: _build(ReadOutRecipe, spec, f"read_outs.{name}")
            for name, spec in table.pop("read_outs", {}).items()
        }
        nested = {
            "data": _build(DataRecipe, table.pop("data", {}), "data"),
            "views": _build(Views, table.pop("views", {}), "views"),
            "training": _build(TrainingRecipe, table.pop("training", {}), "training"),
        }
        recipe = _build(Recipe, {**table, **nested, "read_outs": read_outs}, "the top level")
        _check(recipe)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    return recipe


T = TypeVar("T")


def _build(kind: type[T], table: Any, where: str) -> T:
    if not isinstance(table, dict):
        raise RecipeError(f"{where} must be a table")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = set(table) - set(fields)
    if unknown:
        raise RecipeError(f"unknown field {sorted(unknown)[0]!r} in {where}; known: {', '.join(fields)}")
    missing = [
        name
        for name, f in fields.items()
        if name not in table and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise RecipeError(f"field {missing[0]!r} is missing in {where}")
    try:
        return kind(**table)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{where}: {error}") from error


def _check(recipe: Recipe) -> None:
    if recipe.task != "image-uncertainty":
        raise RecipeError(f"task is {recipe.task!r}; this trainer makes image-uncertainty")
    if not recipe.read_outs:
        raise RecipeError("no [read_outs.<name>] table; a head needs at least one")
    for name, read_out in recipe.read_outs.items():
        where = f"read_outs.{name}"
        _choose(set(read_out.inputs), HEAD_INPUTS, f"{where}.inputs")
        _choose(set(read_out.target), TARGETS, f"{where}.target")
        _choose({read_out.loss}, LOSSES, f"{where}.loss")
        _choose(set(read_out.views), VIEW_KINDS, f"{where}.views")
    _choose(set(recipe.default), recipe.read_outs, "default")
    if not 0 < recipe.data.held_out < 1:
        raise RecipeError(f"data.held_out is {recipe.data.held_out}; it must lie between 0 and 1")
    if recipe.training.batch_size % 2 or recipe.training.batch_size < 2:
        raise RecipeError(f"training.batch_size is {recipe.training.batch_size}; pairs need an even number")
    if recipe.training.passes < 1:
        raise RecipeError(f"training.passes is {recipe.training.passes}; it must be at least 1")


def _choose(given: set[str], known: Any, where: str) -> None:
    if not given or given - set(known):
        raise RecipeError(f"{where} is {sorted(given)}; choose from {', '.join(known)}")
