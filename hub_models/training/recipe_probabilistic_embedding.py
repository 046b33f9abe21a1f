"""Recipes of probabilistic embeddings: a backbone whose last stages are trained, with proxies of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from ..configuration_probabilistic_embedding import CONCENTRATIONS
from ..errors import RecipeError
from ..non_isotropic_vmf import NORMALIZERS
from .proxy_losses import Placement, Similarity
from .recipe import build, read_recipe_table
from .views import Views

TASK = "probabilistic-embedding"
#: Losses of pytorch-metric-learning, as baselines: they see directions only.
BASELINES = ("proxy_anchor", "proxy_nca", "cosine_softmax")
LOSS_NAMES = (*get_args(Similarity), *BASELINES)


@dataclass(frozen=True)
class EmbeddingData:
    """Table ``[data]``.

    Attributes:
        images: ``dataset:<name>`` for one of datasets_scripts, or a folder, tar or Parquet folder, labelled.
        split: to train on, of a data set.
        test_split: with other classes, to measure retrieval on; only of a data set.
    """

    images: str
    split: str = "train"
    test_split: str = "test"


@dataclass(frozen=True)
class EmbeddingNetwork:
    """Table ``[network]``.

    Attributes:
        trained_stages: last stages of the backbone that are trained, with its head convolution.
        others: see `ProbabilisticEmbeddingConfig`.
    """

    dim: int = 128
    image_size: int = 160
    trained_stages: int = 2
    concentration_from: str = "norm"
    head_width: int = 256


@dataclass(frozen=True)
class ProxyLossRecipe:
    """Table ``[loss]``; what a loss has no use for is ignored.

    Attributes:
        name: a similarity of `proxy_losses`, or a baseline: ``proxy_anchor``, ``proxy_nca``, ``cosine_softmax``.
        temperature: at the start (learned), above 0; of a baseline 1 / scale (fixed).
        temperature_placement, samples, normalizer, guidance_weight: see `ProxyLoss`.
        concentration: of the proxies at the start.
        warm_start: whether proxies begin at the means of their classes.
    """

    name: str = "el_nivmf"
    temperature: float = 0.01
    temperature_placement: str = "inside"
    samples: int = 10
    normalizer: str = "exact"
    guidance_weight: float = 0.0
    concentration: float = 10.0
    warm_start: bool = True


@dataclass(frozen=True)
class EmbeddingTraining:
    """Table ``[training]``: AdamW, linear warm-up over 5 % of the steps, cosine to 0.

    Attributes:
        epochs: passes over the images, each time in one of the cached views.
        batch_size, images_per_class: a batch holds the images of a class in groups of this many.
        start_concentration: mean concentration of the images before training.
        learning_rate: of the backbone's last stages.
        embedding_factor, proxy_factor, concentration_factor, temperature_factor: of the learning rate, for the
            embedding layer, the proxies' directions and concentrations, and the temperature.
    """

    epochs: int = 6
    batch_size: int = 64
    images_per_class: int = 2
    start_concentration: float = 50.0
    learning_rate: float = 1e-4
    embedding_factor: float = 10.0
    proxy_factor: float = 100.0
    concentration_factor: float = 1000.0
    temperature_factor: float = 10.0
    weight_decay: float = 1e-4


@dataclass(frozen=True)
class ProbabilisticEmbeddingRecipe:
    """The whole file.

    Attributes:
        weights: of the backbone, see `hub_models.backbones.load_weights`.
        licence: of the trained weights; follows the images they were trained on.
    """

    name: str
    task: str
    summary: str
    licence: str
    backbone: str
    weights: str
    data: EmbeddingData
    network: EmbeddingNetwork = field(default_factory=EmbeddingNetwork)
    views: Views = field(default_factory=Views)
    loss: ProxyLossRecipe = field(default_factory=ProxyLossRecipe)
    training: EmbeddingTraining = field(default_factory=EmbeddingTraining)
    seed: int = 0


_TABLES: dict[str, Any] = {
    "data": EmbeddingData,
    "network": EmbeddingNetwork,
    "views": Views,
    "loss": ProxyLossRecipe,
    "training": EmbeddingTraining,
}


def load_embedding_recipe(path: Path) -> ProbabilisticEmbeddingRecipe:
    """Read and check a recipe.

    Raises:
        RecipeError: names the file, the field, and what is expected there.
    """
    table = read_recipe_table(path)
    try:
        return embedding_recipe(table)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def embedding_recipe(table: Mapping[str, Any]) -> ProbabilisticEmbeddingRecipe:
    """A recipe from the tables and fields of its file.

    Raises:
        RecipeError: names the field, and what is expected there.
    """
    parts = {name: build(kind, table.get(name, {}), name) for name, kind in _TABLES.items()}
    recipe = build(ProbabilisticEmbeddingRecipe, {**table, **parts}, "the top level")
    if recipe.task != TASK:
        raise RecipeError(f"task is {recipe.task!r}; this trainer makes {TASK}")
    _check(recipe)
    return recipe


def _check(recipe: ProbabilisticEmbeddingRecipe) -> None:
    choices = {
        "loss.name": (recipe.loss.name, LOSS_NAMES),
        "loss.temperature_placement": (recipe.loss.temperature_placement, get_args(Placement)),
        "loss.normalizer": (recipe.loss.normalizer, NORMALIZERS),
        "network.concentration_from": (recipe.network.concentration_from, CONCENTRATIONS),
    }
    for where, (given, known) in choices.items():
        if given not in known:
            raise RecipeError(f"{where} is {given!r}; choose from {', '.join(known)}")
    if recipe.network.dim < 2:
        raise RecipeError(f"network.dim is {recipe.network.dim}; it must be at least 2")
    if recipe.training.batch_size < recipe.training.images_per_class:
        raise RecipeError("training.batch_size must be at least training.images_per_class")
    _check_numbers(recipe)


def _check_numbers(recipe: ProbabilisticEmbeddingRecipe) -> None:
    may_be_zero = {"guidance_weight", "trained_stages", "weight_decay"}
    for name in ("network", "loss", "training"):
        table = getattr(recipe, name)
        for item in fields(table):
            value = getattr(table, item.name)
            if isinstance(value, bool | str):
                continue
            if value < 0 or (value == 0 and item.name not in may_be_zero):
                lowest = "at least 0" if item.name in may_be_zero else "above 0"
                raise RecipeError(f"{name}.{item.name} is {value}; it must be {lowest}")
