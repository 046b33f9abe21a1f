"""recipe.toml: everything a checkpoint is made of. One dataclass a table, every unknown field refused."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

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
        held_out: share of the images, drawn by the seed, that no head sees; they make the reference
            distribution.
        where: column -> value, keep only those rows of a data set.
    """

    images: str
    split: str = "train"
    held_out: float = 0.2
    where: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingRecipe:
    """Table ``[training]``: AdamW (betas 0.8, 0.95), linear warm-up over 5 % of the steps, cosine to 0."""

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
    table = read_recipe_table(path)
    try:
        nested = {
            name: build(kind, table.get(name, {}), name)
            for name, kind in (("data", DataRecipe), ("views", Views), ("training", TrainingRecipe))
        }
        read_outs = {
            name: build(ReadOutRecipe, spec, f"read_outs.{name}")
            for name, spec in _table(table.get("read_outs", {}), "read_outs").items()
        }
        recipe = build(Recipe, {**table, **nested, "read_outs": read_outs}, "the top level")
        _check(recipe)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    return recipe


def read_recipe_table(path: Path) -> dict[str, Any]:
    """The tables and fields of a recipe of any task.

    Raises:
        RecipeError: names the file and why it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"{path}: no such recipe; see hub_models/checkpoints/*/recipe.toml for examples"
        ) from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); pass a recipe.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error


T = TypeVar("T")


def build(kind: type[T], table: Any, where: str) -> T:
    """A dataclass from a table: no unknown field, none missing, each of its type."""
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(_table(table, where)) - set(fields))
    if unknown:
        raise RecipeError(f"unknown field {_listed(unknown)} in {where}; known: {', '.join(fields)}")
    missing = [
        name
        for name, f in fields.items()
        if name not in table and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise RecipeError(f"field {_listed(missing)} is missing in {where}")
    types = get_type_hints(kind)
    for name, value in table.items():
        if not _fits(value, types[name]):
            expected = str(types[name]) if get_args(types[name]) else types[name].__name__
            raise RecipeError(f"{name} in {where} is {value!r}; it must be of type {expected}")
    try:
        return kind(**table)
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from error


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(_fits(item, get_args(kind)[1]) for item in value.values())
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def _check(recipe: Recipe) -> None:
    if recipe.task != "image-uncertainty":
        raise RecipeError(f"task is {recipe.task!r}; this trainer makes image-uncertainty")
    if recipe.data.where and not recipe.data.images.startswith("dataset:"):
        raise RecipeError("data.where selects rows of a dataset:<name>; drop it for other images")
    if not 0 < recipe.data.held_out < 1:
        raise RecipeError(f"data.held_out is {recipe.data.held_out}; it must lie between 0 and 1")
    if not recipe.read_outs:
        raise RecipeError("no [read_outs.<name>] table; a model needs at least one")
    for name, read_out in recipe.read_outs.items():
        _check_read_out(read_out, f"read_outs.{name}", recipe.views)
    _choose(recipe.default, recipe.read_outs, "default")
    training = recipe.training
    if training.batch_size % 2:
        raise RecipeError(f"training.batch_size is {training.batch_size}; pairs need an even number")
    for field_name, lowest in (("batch_size", 2), ("passes", 1), ("learning_rate", 0), ("weight_decay", 0)):
        _at_least(lowest, getattr(training, field_name), f"training.{field_name}")


def _check_read_out(read_out: ReadOutRecipe, where: str, views: Views) -> None:
    _choose(read_out.inputs, HEAD_INPUTS, f"{where}.inputs")
    _choose(read_out.target, TARGETS, f"{where}.target")
    _choose([read_out.loss], LOSSES, f"{where}.loss")
    _choose(read_out.views, VIEW_KINDS, f"{where}.views")
    if not set(read_out.views) & set(views.kinds):
        raise RecipeError(f"{where}.views is {read_out.views}, but [views] makes none of them")
    if min(read_out.target.values()) <= 0:
        raise RecipeError(f"{where}.target is {read_out.target}; weights must be above 0")
    for field_name, lowest in (("width", 1), ("depth", 0), ("members", 1)):
        _at_least(lowest, getattr(read_out, field_name), f"{where}.{field_name}")


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecipeError(f"{where} must be a table")
    return value


def _choose(given: Iterable[str], known: Iterable[str], where: str) -> None:
    if not set(given) or set(given) - set(known):
        raise RecipeError(f"{where} is {sorted(given)}; choose from {', '.join(known)}")


def _at_least(lowest: float, value: float, where: str) -> None:
    if value < lowest:
        raise RecipeError(f"{where} is {value}; it must be at least {lowest}")


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names))
