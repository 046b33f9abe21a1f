"""recipe.toml of a von Mises-Fisher encoder of the controlled experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from .contrastive_losses import VARIANTS
from .recipe import build, read_recipe_table
from .vmf_generator import GeneratorRecipe

TASK = "vmf-encoder"
LOSSES = ("mc-infonce", "elk", "hib")


@dataclass(frozen=True)
class EncoderRecipe:
    """Table ``[encoder]``.

    Attributes:
        embedding_dim: D of the posteriors; need not be that of the latents.
        widths: of the hidden layers of either network.
        lowest_concentration, highest_concentration: range of kappa before training.
    """

    embedding_dim: int
    widths: list[int]
    lowest_concentration: float = 16.0
    highest_concentration: float = 32.0


@dataclass(frozen=True)
class TrainingRecipe:
    """Table ``[training]``: Adam; each phase halves its learning rate at half time.

    Attributes:
        loss: ``mc-infonce``, ``elk`` or ``hib``, see `hub_models.training.contrastive_losses`.
        variant: of MCInfoNCE.
        samples: S, draws of each posterior; ELK has a closed form and takes none.
        negatives: M, of each anchor.
        direction_steps: of a phase that trains the mean direction alone.
        concentration_steps: of the phase that follows it and trains the concentration alone.
        rounds: how often these two phases take turns.
        settling_steps: of a last phase of the concentration, whose learning rate falls linearly to 0 from half.
        joint: whether one phase of as many steps trains both instead.
    """

    loss: str = "mc-infonce"
    variant: str = "paper"
    batch_size: int = 512
    samples: int = 512
    negatives: int = 1
    direction_steps: int = 4096
    concentration_steps: int = 4096
    rounds: int = 1
    settling_steps: int = 0
    joint: bool = False
    learning_rate: float = 1e-4

    @property
    def steps(self) -> int:
        """In all."""
        return self.rounds * (self.direction_steps + self.concentration_steps) + self.settling_steps


@dataclass(frozen=True)
class VmfEncoderRecipe:
    """The whole file; ``seed`` is that of process, data and training."""

    name: str
    task: str
    summary: str
    licence: str
    generator: GeneratorRecipe
    encoder: EncoderRecipe
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    seed: int = 0


def load_vmf_encoder_recipe(path: Path) -> VmfEncoderRecipe:
    """Read and check a recipe.

    Raises:
        RecipeError: names the file, the field, and what is expected there.
    """
    table = read_recipe_table(path)
    tables: dict[str, Any] = {
        "generator": GeneratorRecipe,
        "encoder": EncoderRecipe,
        "training": TrainingRecipe,
    }
    try:
        parts = {name: build(kind, table.get(name, {}), name) for name, kind in tables.items()}
        recipe = build(VmfEncoderRecipe, {**table, **parts}, "the top level")
        _check(recipe)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    return recipe


def _check(recipe: VmfEncoderRecipe) -> None:
    encoder, training = recipe.encoder, recipe.training
    if recipe.task != TASK:
        raise RecipeError(f"task is {recipe.task!r}; this trainer makes {TASK}")
    if training.loss not in LOSSES:
        raise RecipeError(f"training.loss is {training.loss!r}; choose from {', '.join(LOSSES)}")
    if training.variant not in VARIANTS:
        raise RecipeError(f"training.variant is {training.variant!r}; choose from {', '.join(VARIANTS)}")
    if not 0 < encoder.lowest_concentration < encoder.highest_concentration:
        raise RecipeError(
            "encoder.lowest_concentration must be above 0 and below encoder.highest_concentration"
        )
    if encoder.embedding_dim < 2:
        raise RecipeError(f"encoder.embedding_dim is {encoder.embedding_dim}; it must be at least 2")
    if training.learning_rate <= 0:
        raise RecipeError(f"training.learning_rate is {training.learning_rate}; it must be above 0")
    sizes = {
        "batch_size": training.batch_size,
        "samples": training.samples,
        "negatives": training.negatives,
        "steps": training.steps,
    }
    for name, size in sizes.items():
        if size < 1:
            raise RecipeError(f"training.{name} is {size}; it must be at least 1")
