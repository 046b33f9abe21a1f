"""Checkpoint folders of the small generators and classifiers, and how to load them.

recipe.toml          what the model was made of
config.json          of the network, and the names of its classes
model.safetensors    its weights, half precision
golden.safetensors   a small input and the network's output for it
checksums.json       sha256 of these files, and the versions it was trained with
results.jsonl        measured figures, written later
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ..atomic import atomic_path, file_sha256, write_text
from ..checkpoint_folder import (
    CHECKSUMS,
    CONFIG,
    GOLDEN,
    MAX_BYTES,
    RECIPE,
    WEIGHTS,
    check_checkpoint,
    write_checksums,
)
from ..errors import CheckpointError
from ..paths import CHECKPOINTS

if TYPE_CHECKING:
    from ..spell.spell_class_conditional import SpellClassConditionalPipeline


VERSIONS_OF = ("diffusers", "hub-models", "safetensors", "torch")
N = TypeVar("N", bound=torch.nn.Module)


@dataclass(frozen=True)
class SavedModel:
    """What a folder holds, before a network is made of it."""

    folder: Path
    config: dict[str, Any]
    weights: dict[str, torch.Tensor]

    def fill(self, network: torch.nn.Module) -> None:
        """Put the weights into a network, which must want exactly these, and make it ready for use.

        Raises:
            CheckpointError: they do not fit; the message says which.
        """
        try:
            network.load_state_dict(self.weights)
        except RuntimeError as error:
            raise CheckpointError(f"{self.folder / WEIGHTS}: does not fit {CONFIG}: {error}") from error
        network.eval().requires_grad_(False)


def save_model(
    folder: Path,
    recipe: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    golden: Mapping[str, torch.Tensor],
    steps: int,
) -> None:
    """Write a checkpoint folder; files it does not name are left alone.

    The checksums come last, so a kill in between is noticed on opening.

    Args:
        weights: floating-point ones are stored in half precision.
        golden: inputs and output of the network with these very half-precision weights.
        steps: of training, recorded beside the weights.

    Raises:
        CheckpointError: the weights are too large for git.
    """
    half = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in weights.items()
    }
    size = sum(value.nbytes for value in half.values())
    if size > MAX_BYTES:
        raise CheckpointError(f"{folder}: {size / 2**20:.1f} MiB of weights, the limit is {MAX_BYTES >> 20}")
    write_text(folder / RECIPE, recipe.read_text(encoding="utf-8"))
    write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    with atomic_path(folder / GOLDEN) as temporary:
        save_file({name: value.contiguous() for name, value in golden.items()}, temporary)
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(half, temporary, {"steps": str(steps)})  # two entries would come in any order
    write_checksums(folder, VERSIONS_OF)


def rounded(network: N) -> N:
    """The same network with weights that half precision can hold, so that saving loses nothing more."""
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())
    return network


def open_model(name: str | Path) -> SavedModel:
    """A checkpoint by its folder, or by its name among those that come with this package.

    Its files are checked against their sha256.

    Raises:
        CheckpointError: there is none, or a file of it is missing, altered or damaged.
    """
    folder = Path(name) if (Path(name) / CONFIG).is_file() else CHECKPOINTS / name
    missing = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise CheckpointError(
            f"{name}: not a trained model, {', '.join(missing)} is missing; train its recipe, or choose from "
            f"{', '.join(released())}"
        )
    if (folder / CHECKSUMS).is_file():
        check_checkpoint(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = {key: _single(value) for key, value in load_file(folder / WEIGHTS).items()}
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: damaged ({error}); restore it or train it again") from error
    return SavedModel(folder, config, weights)


def released(suffix: str = "") -> list[str]:
    """Names of the trained small models that come with this package, those ending in ``suffix``."""
    return sorted(
        path.parent.name
        for path in CHECKPOINTS.glob(f"*{suffix}/{CONFIG}")
        if "model_type" not in json.loads(path.read_text(encoding="utf-8"))
    )


def load_pipeline(name: str | Path = "digits-flow") -> SpellClassConditionalPipeline:
    """A generator as a diffusers pipeline, on the CPU, float32.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel

    from ..spell.spell_class_conditional import SpellClassConditionalPipeline

    saved = open_model(name)
    config = dict(saved.config)
    names: Sequence[str] = config.pop("class_names")
    network = UNet2DModel(**config)
    saved.fill(network)
    labels = {str(number): label for number, label in enumerate(names)}
    return SpellClassConditionalPipeline(network, FlowMatchEulerDiscreteScheduler(), labels)


def revision(name: str | Path) -> str:
    """First digits of the hash of a model's weights, as results.jsonl records them."""
    return file_sha256(open_model(name).folder / WEIGHTS)[:12]


def trained_steps(folder: Path) -> int:
    """How many steps the weights in a folder were trained for."""
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        return int(file.metadata()["steps"])


def _single(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.is_floating_point() else value
