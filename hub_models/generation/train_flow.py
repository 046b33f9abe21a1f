"""Recipe in, generator out. Saves as it goes, and goes on after a kill as if there had been none."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..paths import cache_dir
from ..progress import progress_bar
from ..training.resumable import load_progress, restore_moments, restore_parts, save_progress
from .checkpoints import rounded, save_model
from .flow_model import TIMESTEPS, flow_loss, new_network, update_average
from .image_sets import load_images
from .labelled_images import LabelledImages
from .recipe import FlowRecipe, load_flow_recipe

if TYPE_CHECKING:
    from diffusers import UNet2DModel

SAVE_SECONDS = 240
SPACING = 10_000_019  # between the random numbers of two seeds; torch keeps only the low 32 bits
SHOWN_CONFIG = (
    "sample_size",
    "in_channels",
    "out_channels",
    "layers_per_block",
    "block_out_channels",
    "down_block_types",
    "up_block_types",
    "attention_head_dim",
    "norm_num_groups",
    "dropout",
    "num_class_embeds",
)


def train_flow(path: Path, folder: Path, *, show_progress: bool = True) -> None:
    """Train a generator, on the GPU where there is one, and write its checkpoint folder.

    Every few minutes, and at the end, the folder gets the averaged weights so far, and the cache the whole state.
    What a step sees depends on the recipe's seed and the step's number alone, so a resumed training gives the same
    weights as one that ran through.

    Args:
        path: of the recipe.
        folder: to write; may be the recipe's own.

    Raises:
        RecipeError: the recipe is not possible.
        ImageSourceError, MissingExtraError: its images cannot be had.
    """
    recipe = load_flow_recipe(path)
    images = load_images(recipe.data.images, "train", recipe.data.count)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training = recipe.training
    torch.manual_seed(recipe.seed)
    _, channels, size, _ = images.pixels.shape
    network = new_network(recipe.network, channels, size, len(images.class_names)).to(device)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(
        network.parameters(), betas=(0.9, 0.99), weight_decay=training.weight_decay, fused=True
    )
    parts = torch.nn.ModuleDict({"network": network, "average": average})
    state, done = _state_path(recipe), 0
    if state.is_file():
        done, tensors, _ = load_progress(state)
        restore_parts(parts, tensors)
        restore_moments(parts, optimizer, tensors)
    saved = time.monotonic()
    with progress_bar(f"training {recipe.name}", training.steps, "steps", show_progress) as advance:
        advance(done)
        for step in range(done, training.steps):
            _train_step(recipe, step, images, network, optimizer)
            update_average(average, network, training.ema, step)
            advance(1)
            if time.monotonic() - saved > SAVE_SECONDS:
                save_progress(state, step + 1, parts, optimizer, {})
                _save_average(path, folder, average, images, step + 1)
                saved = time.monotonic()
    if done < training.steps:
        save_progress(state, training.steps, parts, optimizer, {})
    _save_average(path, folder, average, images, max(done, training.steps))


def _train_step(
    recipe: FlowRecipe,
    step: int,
    images: LabelledImages,
    network: UNet2DModel,
    optimizer: torch.optim.AdamW,
) -> None:
    training = recipe.training
    number = recipe.seed * SPACING + step
    generator = torch.Generator().manual_seed(number)
    torch.manual_seed(number)  # for dropout
    chosen = torch.randint(len(images), (training.batch_size,), generator=generator)
    batch, labels = images.samples(chosen), images.labels[chosen]
    if recipe.data.flip:
        mirrored = torch.rand(len(batch), generator=generator) < 0.5
        batch = torch.where(mirrored.view(-1, 1, 1, 1), batch.flip(-1), batch)
    unlabelled = torch.rand(len(batch), generator=generator) < training.label_dropout
    labels = torch.where(unlabelled, len(images.class_names), labels)
    device = next(network.parameters()).device
    with torch.autocast(device.type, torch.bfloat16):
        loss = flow_loss(network, batch.to(device), labels.to(device), generator)
    for group in optimizer.param_groups:
        group["lr"] = training.learning_rate * min(1, (step + 1) / max(1, training.warmup_steps))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()


def _save_average(
    recipe: Path, folder: Path, average: UNet2DModel, images: LabelledImages, steps: int
) -> None:
    network = rounded(copy.deepcopy(average).cpu())
    _, channels, size, _ = images.pixels.shape
    classes = len(images.class_names)
    inputs = {
        "sample": torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0)),
        "timestep": torch.tensor([0.25, 0.75]) * TIMESTEPS,
        "class_labels": torch.tensor([0, classes]),
    }
    with torch.no_grad():
        golden = inputs | {"velocity": network(**inputs).sample}
    config = {name: network.config[name] for name in SHOWN_CONFIG} | {"class_names": images.class_names}
    save_model(folder, recipe, config, network.state_dict(), golden, steps)


def _state_path(recipe: FlowRecipe) -> Path:
    """Where the state lies: by everything that shapes the weights but the number of steps."""
    fields = dataclasses.asdict(recipe)
    for name in ("name", "summary", "licence"):
        del fields[name]
    del fields["training"]["steps"]
    key = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]
    return cache_dir() / "generation" / f"{recipe.name}-{key}.safetensors"
