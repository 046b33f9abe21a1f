"""What both suites of the controlled experiment share: a released encoder, then the same recipe under other seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..checkpoint_folder import RECIPE, tensors_sha256
from ..repository import load_strictly
from ..training.recipe_vmf_encoder import VmfEncoderRecipe, load_vmf_encoder_recipe
from ..training.train_vmf_encoder import TrainedEncoder, load_generator, train, with_seed
from ..zoo import resolve
from .results import Result, Run

Measure = Callable[[TrainedEncoder, VmfEncoderRecipe, str], list[Result]]


def each_seed(measure: Measure, folder: Path, seeds: int, command: str) -> Iterator[list[Result]]:
    """Figures of a released encoder, then of its recipe trained under other seeds, each on its own process.

    Raises:
        CheckpointError: the folder cannot be read.
        RecipeError: its recipe is not possible.
    """
    recipe = load_vmf_encoder_recipe(folder / RECIPE)
    released = TrainedEncoder(load_strictly(resolve(folder)), load_generator(folder))
    yield measure(released, recipe, command)
    for number in range(1, seeds):
        other = with_seed(recipe, recipe.seed + number)
        yield measure(train(other), other, command)


def run_of(trained: TrainedEncoder, recipe: VmfEncoderRecipe, command: str) -> Run:
    """What all figures of one encoder share."""
    return Run(recipe.name, tensors_sha256(trained.model.state_dict())[:12], recipe.seed, command)
