"""A checkpoint in source form: what was trained here, without the frozen backbone.

A folder ``hub_models/checkpoints/<name>/`` of

    recipe.toml          what it was made of
    config.json          the model's configuration
    model.safetensors    everything of the model but what is frozen of ``backbone.*``; float32, or float16
                         where a part of the backbone was trained too
    golden.safetensors   a small input and the model's output for it
    checksums.json       sha256 of these files and of a frozen backbone's tensors, versions it was trained with
    results.jsonl        evaluation results, one JSON object a line; grows later, so it has no checksum
"""

from __future__ import annotations

import copy
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
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
        """The timm architecture whose frozen part the weights leave out; None where nothing is left out."""
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
    checksums = check_checkpoint(path)
    return CheckpointFolder(path, read_recipe(path / RECIPE), checksums)


def check_checkpoint(path: Path) -> dict[str, Any]:
    """Compare the files of a checkpoint with its checksums.json, and return what that holds.

    Raises:
        CheckpointError: names the file that is missing or altered.
    """
    checksums = read_listing(path / CHECKSUMS)
    for name in CHECKED_FILES:
        if name not in checksums["files"]:
            raise CheckpointError(f"{path / CHECKSUMS}: does not list {name}; train the checkpoint again")
    check_files(path, checksums["files"], "restore it or train the checkpoint again")
    return checksums


def write_checksums(path: Path, versions_of: Sequence[str], **more: Any) -> None:
    """Write checksums.json: sha256 of a checkpoint's files, versions it was trained with, and ``more``."""
    checksums = {
        "files": {name: file_sha256(path / name) for name in CHECKED_FILES},
        "trained_with": {name: metadata.version(name) for name in versions_of},
        **more,
    }
    write_text(path / CHECKSUMS, json.dumps(checksums, indent=2, sort_keys=True) + "\n")


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

    has_backbone = "backbone" in read_recipe(recipe)
    model = copy.deepcopy(model).eval()
    if has_backbone:
        model = model.float()
    model = model.cpu()
    round_trained(model)
    trained, frozen = split_state(model) if has_backbone else (model.state_dict(), {})
    if trained_backbone(model):
        trained = {key: _half(value) for key, value in trained.items()}
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
    write_checksums(
        folder, VERSIONS_OF, **({"backbone_sha256": tensors_sha256(frozen)} if has_backbone else {})
    )


def split_state(model: PreTrainedModel) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A model's tensors: those that were trained here by name, and the frozen ones by their backbone's name."""
    trained, frozen = {}, {}
    modules = tuple(f"{BACKBONE_PREFIX}{name}." for name in trained_backbone(model))
    for key, value in model.state_dict().items():
        if key.startswith(BACKBONE_PREFIX) and not key.startswith(modules):
            frozen[key.removeprefix(BACKBONE_PREFIX)] = value
        else:
            trained[key] = value
    return trained, frozen


def trained_backbone(model: PreTrainedModel) -> list[str]:
    """The modules of its backbone that were trained too."""
    return getattr(model.config, "trained_backbone", None) or []


def round_trained(model: PreTrainedModel) -> None:
    """Round what was trained, in place, to what a checkpoint holds, so that measured figures are those of the file.

    Only where a part of the backbone was trained: such a model is kept in half precision, others as they are.
    """
    if trained_backbone(model):
        for value in split_state(model)[0].values():
            value.copy_(_half(value))


def _half(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash of named tensors: names, types, shapes and bytes, whatever their order."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
