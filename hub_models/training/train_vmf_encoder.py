"""Recipe in, von Mises-Fisher encoder out: MCInfoNCE's controlled experiment (Kirchhof et al., ICML 2023).

Every step draws fresh pairs from the known generative process. What a step sees depends on the recipe's seed and the
step's number alone: losses are compared on the same pairs, and a training that was killed goes on as if it was not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..atomic import atomic_path
from ..checkpoint_folder import RECIPE, save_checkpoint
from ..configuration_vmf_encoder import VmfEncoderConfig
from ..errors import CheckpointError
from ..modeling_vmf_encoder import VmfEncoderModel
from ..paths import cache_dir
from ..progress import progress_bar
from .contrastive_losses import ExpectedLikelihood, Variant, hedged_instance_loss, mc_infonce
from .pair_similarities import Posterior, pair_similarities
from .recipe_vmf_encoder import VmfEncoderRecipe, load_vmf_encoder_recipe
from .resumable import load_progress, restore_moments, restore_parts, save_progress
from .vmf_generator import VmfGenerator, make_generator

#: The process that a checkpoint was trained on, beside its weights.
GENERATOR = "generator.safetensors"
SAVE_SECONDS = 60
SPACING = 10_000_019  # between the random numbers of two seeds; torch keeps only the low 32 bits
#: Inputs on which the encoder's first concentrations are measured.
_MEASURED = 1000


@dataclass(frozen=True)
class TrainedEncoder:
    """An encoder and the process whose posteriors it was to find."""

    model: VmfEncoderModel
    generator: VmfGenerator


class PairLoss(nn.Module):
    """The loss that a recipe names, over posteriors of anchors, positives and negatives.

    HIB learns the scale and offset of its match logit.
    """

    def __init__(self, recipe: VmfEncoderRecipe) -> None:
        super().__init__()
        self.training_recipe = recipe.training
        self.positive_concentration = recipe.generator.positive_concentration
        self.expected_likelihood = ExpectedLikelihood()
        if recipe.training.loss == "hib":
            self.scale = nn.Parameter(torch.ones(()))
            self.offset = nn.Parameter(torch.zeros(()))

    def forward(
        self, anchor: Posterior, positive: Posterior, negative: Posterior, draws: torch.Generator
    ) -> Tensor:
        """A scalar."""
        recipe = self.training_recipe
        if recipe.loss == "elk":
            return self.expected_likelihood(anchor, positive, negative)
        similar, dissimilar = pair_similarities(anchor, positive, negative, recipe.samples, draws)
        if recipe.loss == "hib":
            match, mismatch = (self.scale * values + self.offset for values in (similar, dissimilar))
            return hedged_instance_loss(match, mismatch)
        kp = self.positive_concentration
        return mc_infonce(kp * similar, kp * dissimilar, cast(Variant, recipe.variant))


def train_vmf_encoder(path: Path, folder: Path, *, show_progress: bool = True) -> TrainedEncoder:
    """Train what a recipe describes and write its checkpoint folder, the process itself among its files.

    Args:
        path: of the recipe.
        folder: to write; may be the recipe's own.

    Raises:
        RecipeError: the recipe is not possible.
        CheckpointError: the checkpoint cannot be written.
    """
    trained = train(load_vmf_encoder_recipe(path), show_progress=show_progress)
    save_checkpoint(trained.model, folder, path)
    with atomic_path(folder / GENERATOR) as temporary:
        save_file(trained.generator.state_dict(), temporary, {"format": "pt"})
    return trained


def load_generator(folder: Path) -> VmfGenerator:
    """The process that a checkpoint folder's encoder was trained on.

    Raises:
        RecipeError: the recipe cannot be read.
        CheckpointError: the process is missing or does not fit the recipe.
    """
    generator = VmfGenerator(load_vmf_encoder_recipe(folder / RECIPE).generator)
    try:
        generator.load_state_dict(load_file(folder / GENERATOR))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder / GENERATOR}: not the process of this recipe ({error}); train the recipe again"
        ) from error
    return generator


def with_seed(recipe: VmfEncoderRecipe, seed: int) -> VmfEncoderRecipe:
    """The same recipe with another process, other data and another start."""
    return dataclasses.replace(recipe, seed=seed)


def train(recipe: VmfEncoderRecipe, *, show_progress: bool = True) -> TrainedEncoder:
    """Train an encoder, or go on where a training of the same recipe was; its state is kept in the cache.

    Raises:
        RecipeError: no process is possible.
    """
    state = _state_path(recipe)
    done, tensors = 0, dict[str, Tensor]()
    if state.is_file():
        done, tensors, facts = load_progress(state)
        parts = _Parts(recipe, VmfEncoderConfig.from_dict(json.loads(facts["config"])))
        restore_parts(parts, tensors)
    else:
        parts = _start(recipe)
    with progress_bar(f"training {recipe.name}", recipe.training.steps, "steps", show_progress) as advance:
        advance(done)
        saved = time.monotonic()
        for phase in _phases(recipe, parts):
            if done >= phase.end:
                continue
            optimizer = _optimizer(parts, phase, recipe)
            restore_moments(parts, optimizer, tensors)
            for step in range(done, phase.end):
                _train_step(recipe, step, phase, parts, optimizer)
                advance(1)
                if time.monotonic() - saved > SAVE_SECONDS:
                    _save(state, step + 1, parts, optimizer)
                    saved = time.monotonic()
            done, tensors = phase.end, {}
            _save(state, done, parts, None)
    return TrainedEncoder(parts.encoder.eval(), parts.generator)


class _Parts(nn.Module):
    """Everything that a training draws or changes."""

    def __init__(self, recipe: VmfEncoderRecipe, config: VmfEncoderConfig) -> None:
        super().__init__()
        self.generator = VmfGenerator(recipe.generator)
        self.encoder = VmfEncoderModel(config)
        self.loss = PairLoss(recipe)


@dataclass(frozen=True)
class _Phase:
    """Steps from ``start`` to ``end``, which train some of the parts."""

    start: int
    end: int
    trained: tuple[nn.Module, ...]
    settles: bool = False

    def rate(self, step: int) -> float:
        """Share of the learning rate at a step."""
        share = (step - self.start) / (self.end - self.start)
        if self.settles:
            return 0.5 * (1 - share)
        return 0.5 if share >= 0.5 else 1.0


def _start(recipe: VmfEncoderRecipe) -> _Parts:
    process = make_generator(recipe.generator, recipe.seed)
    encoder = recipe.encoder
    torch.manual_seed(recipe.seed)
    config = VmfEncoderConfig(
        input_dim=recipe.generator.input_dim, embedding_dim=encoder.embedding_dim, widths=encoder.widths
    )
    parts = _Parts(recipe, config)
    parts.generator.load_state_dict(process.state_dict())
    inputs = process.inputs(_MEASURED)
    parts.encoder.set_concentration_range(inputs, encoder.lowest_concentration, encoder.highest_concentration)
    return parts


def _phases(recipe: VmfEncoderRecipe, parts: _Parts) -> Iterator[_Phase]:
    training, encoder = recipe.training, parts.encoder
    if training.joint:
        yield _Phase(0, training.steps, (encoder, parts.loss))
        return
    start = 0
    for _ in range(training.rounds):
        turn = start + training.direction_steps
        end = turn + training.concentration_steps
        yield _Phase(start, turn, (encoder.direction, parts.loss))
        yield _Phase(turn, end, (encoder.log_concentration, parts.loss))
        start = end
    yield _Phase(start, training.steps, (encoder.log_concentration, parts.loss), settles=True)


def _optimizer(parts: _Parts, phase: _Phase, recipe: VmfEncoderRecipe) -> torch.optim.Adam:
    """Over the phase's parameters; no other ones get a gradient."""
    parts.requires_grad_(False)
    for module in phase.trained:
        module.requires_grad_(True)
    trained = [parameter for parameter in parts.parameters() if parameter.requires_grad]
    return torch.optim.Adam(trained, lr=recipe.training.learning_rate)


def _train_step(
    recipe: VmfEncoderRecipe, step: int, phase: _Phase, parts: _Parts, optimizer: torch.optim.Adam
) -> None:
    training = recipe.training
    number = recipe.seed * SPACING + 2 * step
    data, draws = (torch.Generator().manual_seed(number + i) for i in range(2))
    pairs = parts.generator.pairs(training.batch_size, training.negatives, data)
    rows = torch.cat([pairs.anchor, pairs.positive, pairs.negative.flatten(0, 1)])
    output = parts.encoder(rows)
    sizes = (training.batch_size, training.batch_size, training.batch_size * training.negatives)
    anchor, positive, negative = zip(
        output.mean_direction.split(sizes), output.concentration.split(sizes), strict=True
    )
    shape = (training.batch_size, training.negatives)
    apart = negative[0].unflatten(0, shape), negative[1].unflatten(0, shape)
    loss = parts.loss(anchor, positive, apart, draws)
    for group in optimizer.param_groups:
        group["lr"] = training.learning_rate * phase.rate(step)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _save(state: Path, step: int, parts: _Parts, optimizer: torch.optim.Adam | None) -> None:
    save_progress(state, step, parts, optimizer, {"config": parts.encoder.config.to_json_string()})


def _state_path(recipe: VmfEncoderRecipe) -> Path:
    """Where the state lies: by everything that shapes the weights."""
    fields = dataclasses.asdict(recipe)
    for name in ("name", "summary", "licence"):
        del fields[name]
    key = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]
    return cache_dir() / "vmf-encoders" / f"{recipe.name}-{key}.safetensors"
