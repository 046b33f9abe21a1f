"""Suites by name, and running one over a model and over other seeds of its recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from transformers import BaseImageProcessor

from ..backbones import image_processor
from ..checkpoint_folder import BACKBONE_PREFIX, tensors_sha256
from ..modeling_image_uncertainty import ImageUncertaintyModel
from ..training.recipe import Recipe
from ..training.train import train, with_seed
from .results import Result, Run
from .zero_shot import zero_shot

Suite = Callable[[ImageUncertaintyModel, BaseImageProcessor, Path, Run], Iterator[Result]]
SUITES: dict[str, Suite] = {"zero-shot": zero_shot}


def evaluate(
    model: ImageUncertaintyModel, suite: str, name: str, seed: int, root: Path, command: str
) -> Iterator[Result]:
    """Results of one model under a suite.

    Args:
        name, seed: of the model, written into each result.
        root: where feature caches lie.
    """
    heads = {k: v for k, v in model.state_dict().items() if not k.startswith(BACKBONE_PREFIX)}
    run = Run(model=name, revision=tensors_sha256(heads)[:12], seed=seed, command=command)
    yield from SUITES[suite](model, image_processor(model.config.backbone), root, run)


def evaluate_seeds(
    recipe: Recipe, seeds: list[int], suite: str, root: Path, command: str
) -> Iterator[list[Result]]:
    """Train the recipe again under each seed and evaluate it, one after the other: what is luck of the draw?"""
    for seed in seeds:
        trained = train(with_seed(recipe, seed), root)
        yield list(evaluate(trained.model, suite, recipe.name, seed, root, command))
