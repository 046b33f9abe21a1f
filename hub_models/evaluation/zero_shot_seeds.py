"""The zero-shot suite over a checkpoint and over other seeds of its recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..backbones import image_processor
from ..checkpoint_folder import BACKBONE_PREFIX, RECIPE, tensors_sha256
from ..modeling_image_uncertainty import ImageUncertaintyModel
from ..paths import cache_dir
from ..training.recipe import load_recipe
from ..training.train import train, with_seed
from ..zoo import load
from .results import Result, Run
from .zero_shot import zero_shot


def zero_shot_seeds(folder: Path, seeds: int, command: str) -> Iterator[list[Result]]:
    """Figures of the checkpoint, then of the recipe trained again under other seeds: what is luck of the draw?"""
    root = cache_dir() / "features"
    recipe = load_recipe(folder / RECIPE)
    yield list(evaluate(load(folder), recipe.name, recipe.seed, root, command))
    for seed in range(recipe.seed + 1, recipe.seed + seeds):
        trained = train(with_seed(recipe, seed), root)
        yield list(evaluate(trained.model, recipe.name, seed, root, command))


def evaluate(
    model: ImageUncertaintyModel, name: str, seed: int, root: Path, command: str
) -> Iterator[Result]:
    """Results of one model.

    Args:
        name, seed: of the model, written into each result.
        root: where feature caches lie.
    """
    heads = {k: v for k, v in model.state_dict().items() if not k.startswith(BACKBONE_PREFIX)}
    run = Run(model=name, revision=tensors_sha256(heads)[:12], seed=seed, command=command)
    yield from zero_shot(model, image_processor(model.config.backbone), root, run)
