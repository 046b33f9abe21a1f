"""A complete model repository: joined from a checkpoint folder and its backbone, and loaded strictly."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from .atomic import file_sha256
from .backbones import image_processor, load_weights, without_classifier
from .checkpoint_folder import (
    BACKBONE_PREFIX,
    CONFIG,
    GOLDEN,
    RECIPE,
    WEIGHTS,
    CheckpointFolder,
    tensors_sha256,
)
from .errors import CheckpointError
from .families import Family
from .manifest import MANIFEST, check_manifest, write_manifest
from .published_code import closure

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def assemble(
    checkpoint: CheckpointFolder,
    target: Path,
    documents: Mapping[str, bytes] | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Make a checkpoint a complete Hub repository at ``target``, joined with its frozen backbone, in one step.

    The repository holds the configuration with ``auto_map`` and ``custom_pipelines``, all weights, a
    byte-for-byte copy of the published code, the golden tensors and MANIFEST.json; with a backbone also its
    weights, all as float32, and the image processor. The same checkpoint gives the same bytes. A repository
    that is there already is replaced.

    Args:
        documents: file name -> content, further files such as a card.
        about: further fields of the manifest.

    Raises:
        BackboneError: the backbone's weights cannot be had.
        CheckpointError: the task is unknown, the backbone is not the one that the heads were trained on, the
            tensors do not fit the configuration, ``target`` holds something else, or it cannot be written.
    """
    family = checkpoint.family
    with replace_folder(target) as folder:
        _write_json(folder / CONFIG, _published_config(checkpoint, family))
        if checkpoint.backbone is None:
            shutil.copyfile(checkpoint.path / WEIGHTS, folder / WEIGHTS)
        else:
            _write_joined_weights(folder / WEIGHTS, checkpoint, checkpoint.backbone)
            side = checkpoint.config["image_size"] if family.whole_image else None
            image_processor(checkpoint.backbone, side).save_pretrained(folder)
        for path in closure(family.entry_files):
            shutil.copyfile(path, folder / path.name)
        shutil.copyfile(checkpoint.path / GOLDEN, folder / GOLDEN)
        for name, content in (documents or {}).items():
            (folder / name).write_bytes(content)
        made_of = {
            "name": checkpoint.name,
            "recipe_sha256": file_sha256(checkpoint.path / RECIPE),
            "trained_with": checkpoint.checksums["trained_with"],
        }
        write_manifest(folder, {**made_of, **(about or {})})
        load_strictly(folder)


def load_strictly(folder: Path) -> PreTrainedModel:
    """Load a repository with our own classes, never with code from the folder; in eval mode, on the CPU.

    Raises:
        CheckpointError: a file is missing or altered, or tensors are missing, unexpected or misshapen; the
            message lists them all.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoModel

    check_manifest(folder)
    try:
        with _quiet():
            model, info = AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that they are listed below with all else
            )
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise CheckpointError(
            f"{folder}: cannot be loaded ({error}); fetch or export the model again"
        ) from error
    misfits = {
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(info["unexpected_keys"]),
        "mismatched": [
            f"{key} (checkpoint {list(found)}, model {list(wanted)})"
            for key, found, wanted in sorted(info["mismatched_keys"])
        ],
    }
    if any(misfits.values()):
        lines = "".join(f"\n  {kind}: {', '.join(keys)}" for kind, keys in misfits.items() if keys)
        raise CheckpointError(
            f"{folder / WEIGHTS}: does not fit config.json; fetch or export the model again{lines}"
        )
    return model.eval()


def _published_config(checkpoint: CheckpointFolder, family: Family) -> dict[str, Any]:
    published = {
        **checkpoint.config,
        "architectures": [family.model.split(".")[1]],
        "auto_map": {"AutoConfig": family.config, "AutoModel": family.model},
        "model_type": family.model_type,
    }
    if family.pipeline is not None:
        published["custom_pipelines"] = {
            family.task: {"impl": family.pipeline, "pt": ["AutoModel"], "type": family.input_type}
        }
    if checkpoint.backbone is not None:
        published["dtype"] = "float32"
    return published


def _write_joined_weights(target: Path, checkpoint: CheckpointFolder, architecture: str) -> None:
    from safetensors.torch import load_file, save_file

    recipe = checkpoint.recipe
    backbone = load_weights(architecture, recipe["weights"])
    if not checkpoint.config.get("num_classes"):
        backbone = without_classifier(backbone, architecture)
    trained = load_file(checkpoint.path / WEIGHTS)
    frozen = {key: value for key, value in backbone.items() if f"{BACKBONE_PREFIX}{key}" not in trained}
    if tensors_sha256(frozen) != checkpoint.checksums["backbone_sha256"]:
        raise CheckpointError(
            f"{checkpoint.path / RECIPE}: backbone weights {recipe['weights']!r} are not those that the "
            "heads were trained on; restore them or train again"
        )
    joined = {f"{BACKBONE_PREFIX}{key}": value for key, value in frozen.items()} | trained
    floats = {key: value.float() if value.is_floating_point() else value for key, value in joined.items()}
    save_file(floats, target, {"format": "pt"})
    target.chmod(0o644)  # safetensors makes it private


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back transformers' progress bar and load report: what is in them is raised as an error here."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside ``target``; put it in place of ``target`` if the block succeeds."""
    if target.exists() and not (target / MANIFEST).is_file():
        raise CheckpointError(
            f"{target}: exists and is no exported model; move it away or choose another folder"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
            folder = Path(temporary, target.name)
            folder.mkdir()
            yield folder
            if target.exists():
                target.rename(Path(temporary, "replaced"))
            folder.rename(target)
    except (OSError, SafetensorError) as error:  # the latter where the disk is full
        raise CheckpointError(
            f"{target}: cannot be written ({error}); check free space and permissions"
        ) from error
