"""Recipes of embeddings that learn from soft labels: a recipe of `recipe_probabilistic_embedding` with a further table.

The other tables describe the warm-up, in which the last stages of the backbone are trained on images with one label
each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import RecipeError
from .contrastive_losses import VARIANTS
from .recipe import build, read_recipe_table
from .recipe_probabilistic_embedding import ProbabilisticEmbeddingRecipe, embedding_recipe

TABLE = "soft_labels"


@dataclass(frozen=True)
class SoftLabels:
    """Table ``[soft_labels]``.

    Attributes:
        images: ``dataset:<name>``, with a column ``votes`` of counts.
        split: of it.
        folds: equal parts that the images are dealt into at random: the first to choose settings on, the second to
            report, the others to train on.
        positive_concentration, samples, negatives, variant: see `InBatchMCInfoNCE`.
        epochs: passes over the training folds.
        batch_size: pairs of a batch.
        learning_rate: of the concentration's head; all else is frozen by then.
        weight_decay: of AdamW.
        start_concentration: of every image before this phase.
    """

    images: str
    split: str = "test"
    folds: int = 5
    positive_concentration: float = 16.0
    samples: int = 128
    negatives: int = 32
    variant: str = "paper"
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    start_concentration: float = 16.0


@dataclass(frozen=True)
class SoftLabelRecipe:
    """The whole file: the warm-up, then the phase on soft labels."""

    warm_up: ProbabilisticEmbeddingRecipe
    soft_labels: SoftLabels


def load_soft_label_recipe(path: Path) -> SoftLabelRecipe:
    """Read and check a recipe.

    Raises:
        RecipeError: names the file, the field, and what is expected there.
    """
    table = read_recipe_table(path)
    try:
        soft_labels = build(SoftLabels, table.pop(TABLE, {}), TABLE)
        recipe = SoftLabelRecipe(embedding_recipe(table), soft_labels)
        _check(recipe)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    return recipe


def _check(recipe: SoftLabelRecipe) -> None:
    soft = recipe.soft_labels
    if recipe.warm_up.network.concentration_from != "head":
        raise RecipeError(
            'network.concentration_from must be "head": the lengths of the warm-up mean nothing here'
        )
    if not soft.images.startswith("dataset:"):
        raise RecipeError(f"{TABLE}.images is {soft.images!r}; votes come with a dataset:<name>")
    if soft.variant not in VARIANTS:
        raise RecipeError(f"{TABLE}.variant is {soft.variant!r}; choose from {', '.join(VARIANTS)}")
    if soft.folds < 3:
        raise RecipeError(
            f"{TABLE}.folds is {soft.folds}; it takes one to choose, one to report and one to train on"
        )
    if not 1 <= soft.negatives < soft.batch_size:
        raise RecipeError(
            f"{TABLE}.negatives is {soft.negatives}; it must be from 1 to {soft.batch_size - 1}"
        )
    if min(soft.samples, soft.epochs) < 1:
        raise RecipeError(f"{TABLE}.samples and epochs must be at least 1")
    rates = ("positive_concentration", "learning_rate", "start_concentration")
    for name in rates:
        if not getattr(soft, name) > 0:
            raise RecipeError(f"{TABLE}.{name} is {getattr(soft, name)}; it must be above 0")
    if soft.weight_decay < 0:
        raise RecipeError(f"{TABLE}.weight_decay is {soft.weight_decay}; it must be at least 0")
