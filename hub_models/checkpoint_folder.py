"""A checkpoint in source form: what was trained here, without the frozen backbone.

A folder ``hub_models/checkpoints/<name>/`` of

    recipe.toml          what it was made of
    config.json          the model's configuration
    model.safetensors    everything of the model but a frozen ``backbone.*``, float32
    golden.safetensors   a small input and the model's output for it
    checksums.json       sha256 of these files and of a frozen backbone's tensors, versions it was trained with
    results.jsonl        evaluation results, one JSON object a line; grows later, so it has no checksum
"""

from __future__ import annotations

import copy
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import atomic_path, file_sha256, write_text
from .errors import CheckpointError
from .families import FAMILIES, Family
from .golden import golden_tensors
from .manifest import check_files, read_listing

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

RECIPE, CONFIG, WEIGHTS, GOLDEN = "recipe.toml", "config.json", "model.safetensors", "golden.safetensors"
CHECKSUMS, RESULTS = "checksums.json", "results.jsonl"
CHECKED_FILES = (RECIPE, CONFIG, WEIGHTS, GOLDEN)
#: Checkpoints are kept in git; backbones are not.
MAX_BYTES = 10 * 2**20
BACKBONE_PREFIX = "backbone."
BACKBONE_FIELDS = ("backbone", "weights")
VERSIONS_OF = ("hub-models", "safetensors", "timm", "torch", "transformers")


@dataclass(frozen=True)
class CheckpointFolder:
    """A checkpoint in source form that was checked when it was opened.

    Attributes:
        recipe: the top level of recipe.toml.
        checksums: the content of checksums.json.
    """

    path: Path
    recipe: Mapping[str, Any]
    checksums: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def family(self) -> Family:
        """The published classes that serve the recipe's task.

        Raises:
            CheckpointError: no family does.
        """
        task = self.recipe["task"]
        for family in FAMILIES:
            if family.task == task:
                return family
        known = ", ".join(family.task for family in FAMILIES)
        raise CheckpointError(f"{self.path / RECIPE}: task {task!r} is unknown; choose from {known}")

    @property
    def backbone(self) -> str | None:
        """The timm architecture of the frozen backbone that the weights leave out; None where nothing is left out."""
        return self.recipe.get("backbone")

    @property
    def config(self) -> dict[str, Any]:
        """The model's configuration."""
        return dict(json.loads((self.path / CONFIG).read_text(encoding="utf-8")))

    @property
    def results(self) -> list[dict[str, Any]]:
        """The lines of results.jsonl on this very model, other seeds left out; empty before an evaluation.

        Raises:
            CheckpointError: a line is not a result.
        """
        return read_results(self.path, self.name, self.recipe.get("seed", 0))


def read_results(folder: Path, name: str, seed: int | None = None) -> list[dict[str, Any]]:
    """The lines of results.jsonl on one model, of one seed if it is given; empty before an evaluation.

    Raises:
        CheckpointError: a line is not a result.
    """
    path = folder / RESULTS
    if not path.is_file():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line["model"] == name and seed in (None, line["seed"])]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: a line is not a result ({error}); evaluate the model again"
        ) from error


def is_checkpoint_folder(path: Path) -> bool:
    """Whether ``path`` looks like a checkpoint in source form."""
    return (path / RECIPE).is_file() and (path / CHECKSUMS).is_file()


def open_checkpoint(path: Path) -> CheckpointFolder:
    """Open a checkpoint and check its files against their sha256.

    Raises:
        CheckpointError: names the file that is missing or altered, or the recipe's field that is missing.
    """
    checksums = read_listing(path / CHECKSUMS)
    for name in CHECKED_FILES:
        if name not in checksums["files"]:
            raise CheckpointError(f"{path / CHECKSUMS}: does not list {name}; train the checkpoint again")
    check_files(path, checksums["files"], "restore it or train the checkpoint again")
    return CheckpointFolder(path, read_recipe(path / RECIPE), checksums)


def read_recipe(path: Path) -> dict[str, Any]:
    """The top level of a recipe, with at least name, task, licence and summary; weights where it has a backbone.

    Raises:
        CheckpointError: the recipe cannot be read, or one of these fields is missing or not a text.
    """
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a readable recipe ({error}); see the recipes of other checkpoints"
        ) from error
    for field in ("name", "task", "licence", "summary", *(BACKBONE_FIELDS if "backbone" in recipe else ())):
        if not isinstance(recipe.get(field), str):
            raise CheckpointError(f"{path}: field {field!r} is missing or not a text; add it")
    return recipe


def save_checkpoint(model: PreTrainedModel, folder: Path, recipe: Path) -> None:
    """Write a trained model in source form; `results.jsonl` and other files in ``folder`` are left alone.

    Each file is replaced in one step and the checksums come last, so a kill in between is noticed on opening.

    Args:
        model: trained; it is not changed.
        recipe: the recipe it was made by; may already lie in ``folder``.

    Raises:
        CheckpointError: the trained part is too large for git, or the recipe is incomplete.
    """
    from safetensors.torch import save_file

    frozen = BACKBONE_PREFIX if "backbone" in read_recipe(recipe) else None
    model = copy.deepcopy(model).eval()
    if frozen:
        model = model.float()
    model = model.cpu()
    trained, backbone = {}, {}
    for key, value in model.state_dict().items():
        if frozen and key.startswith(frozen):
            backbone[key.removeprefix(frozen)] = value
        else:
            trained[key] = value
    golden = golden_tensors(model)
    size = sum(tensor.nbytes for tensors in (trained, golden) for tensor in tensors.values())
    if size > MAX_BYTES:
        raise CheckpointError(
            f"{folder}: {size / 2**20:.1f} MiB of tensors, the limit is {MAX_BYTES >> 20}; "
            "make the trained part smaller"
        )
    write_text(folder / RECIPE, recipe.read_text(encoding="utf-8"))
    write_text(folder / CONFIG, model.config.to_json_string())
    for name, tensors in ((WEIGHTS, trained), (GOLDEN, golden)):
        with atomic_path(folder / name) as temporary:
            save_file(
                {key: value.contiguous() for key, value in tensors.items()}, temporary, {"format": "pt"}
            )
    checksums: dict[str, Any] = {
        "files": {name: file_sha256(folder / name) for name in CHECKED_FILES},
        "trained_with": {name: metadata.version(name) for name in VERSIONS_OF},
    }
    if frozen:
        checksums["backbone_sha256"] = tensors_sha256(backbone)
    write_text(folder / CHECKSUMS, json.dumps(checksums, indent=2, sort_keys=True) + "\n")


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash of named tensors: names, types, shapes and bytes, whatever their order."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
