"""The zoo: list the released models, find one by name, load it strictly."""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import paths
from .checkpoint_folder import (
    CHECKSUMS,
    RECIPE,
    WEIGHTS,
    CheckpointFolder,
    is_checkpoint_folder,
    open_checkpoint,
    read_recipe,
    read_results,
)
from .errors import CheckpointError
from .families import GENERATION
from .manifest import MANIFEST, check_manifest
from .published_code import closure

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline
    from transformers import BaseImageProcessor, PreTrainedModel

DIST = Path("dist/hub")
#: The figure that stands for a generator in a list, and its words.
GENERATOR_HEADLINE = ("protection@1", "accuracy", "plain"), "samples recognised as their class"


@dataclass(frozen=True)
class ModelEntry:
    """One line of ``hub-models list``.

    Attributes:
        name: what `load` takes.
        task: what it does; also the name of its transformers pipeline where there is one.
        size: bytes of the trained weights, the frozen backbone left out.
        parameters: numbers in these weights, stored statistics included.
        backbone: timm architecture of the frozen backbone, None without one.
        headline: the main measured figure in words, or None before the first evaluation.
        licence: of the trained weights.
    """

    name: str
    task: str
    size: int
    parameters: int
    backbone: str | None
    headline: str | None
    licence: str


def list_models() -> list[ModelEntry]:
    """The released models, by name.

    Raises:
        CheckpointError: a released checkpoint is incomplete or altered.
    """
    heads = [_entry(open_checkpoint(path)) for path in released_checkpoints()]
    generators = [_generator_entry(path) for path in paths.CHECKPOINTS.glob("*") if is_generator(path)]
    return sorted([*heads, *generators], key=lambda entry: entry.name)


def load(name: str | Path, device: str | torch.device | None = None) -> PreTrainedModel | DiffusionPipeline:
    """A model of the zoo with all its weights, in eval mode; a generator as a diffusers pipeline.

    Its files are checked against their sha256, and every tensor must be there and fit. Only our own classes
    run, never code from the folder.

    Args:
        name: see `list_models`; or a folder that ``hub-models export`` or ``hub-models train`` made.
        device: where to put it; None leaves it on the CPU.

    Raises:
        CheckpointError: the name is unknown, a file is missing or altered, or tensors do not fit (all are
            listed).
        BackboneError: the backbone's package is not installed.
    """
    if is_generator(name):
        from .generation.checkpoints import load_pipeline

        pipe = load_pipeline(name)
        return pipe if device is None else pipe.to(device)
    from .repository import load_strictly

    model = load_strictly(resolve(name))
    return model if device is None else model.to(device)


def load_image_processor(name: str | Path) -> BaseImageProcessor:
    """The stock transformers processor that belongs to a model: PIL images -> ``pixel_values`` (B, 3, H, W).

    Raises:
        CheckpointError, BackboneError: as `load`.
    """
    from transformers import AutoImageProcessor

    folder = resolve(name)
    check_manifest(folder)
    return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def resolve(name: str | Path) -> Path:
    """The folder of a complete model repository, which any of our or transformers' loaders can open.

    Looked for in this order: an exported folder of that name; an export below ``dist/hub`` in the current
    directory; a checkpoint in source form, a folder or a released one, joined with its installed backbone and
    kept in the cache.

    Raises:
        CheckpointError: nothing of that name is found, or a checkpoint is incomplete or altered.
        BackboneError: the backbone's weights cannot be had.
    """
    for folder in (Path(name), DIST / name):
        if (folder / MANIFEST).is_file():
            return folder.resolve()
    return _assembled(open_checkpoint(find_checkpoint(name)))


def released_checkpoints() -> list[Path]:
    """The folders of the checkpoints that come with this package, by name."""
    return sorted(path for path in paths.CHECKPOINTS.glob("*") if is_checkpoint_folder(path))


def find_checkpoint(name: str | Path) -> Path:
    """The folder of a checkpoint in source form: the given one, or a released one of that name.

    Raises:
        CheckpointError: there is none; the message gives the nearest names.
    """
    released = {path.name: path for path in released_checkpoints()}
    if is_checkpoint_folder(Path(name)):
        return Path(name).resolve()
    if str(name) in released:
        return released[str(name)]
    if Path(name).is_dir():
        raise CheckpointError(
            f"{name}: holds neither {MANIFEST} nor recipe.toml with {CHECKSUMS}; pass a model's folder"
        )
    near = difflib.get_close_matches(str(name), released, n=3)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise CheckpointError(f"model {str(name)!r} is not in the zoo; {hint}`hub-models list` shows all")


def is_generator(name: str | Path) -> bool:
    """Whether a name or a folder is one of our trained generators, in source form."""
    for folder in (Path(name), paths.CHECKPOINTS / name):
        if (folder / RECIPE).is_file():
            return (folder / WEIGHTS).is_file() and read_recipe(folder / RECIPE)["task"] == GENERATION
    return False


def _assembled(checkpoint: CheckpointFolder) -> Path:
    from .repository import assemble

    folder = paths.cache_dir() / "assembled" / f"{checkpoint.name}-{_content_hash(checkpoint)}"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes that want it, one assembles and the rest wait
        if not (folder / MANIFEST).is_file():
            assemble(checkpoint, folder)
    return folder


def _content_hash(checkpoint: CheckpointFolder) -> str:
    """Of all that an assembled repository is made of, so that none of it can go stale in the cache."""
    digest = hashlib.sha256((checkpoint.path / CHECKSUMS).read_bytes())
    for path in closure(checkpoint.family.entry_files):
        digest.update(path.read_bytes())
    for distribution in ("hub-models", "timm", "transformers"):
        digest.update(f"{distribution}=={metadata.version(distribution)};".encode())
    return digest.hexdigest()[:16]


def _entry(checkpoint: CheckpointFolder) -> ModelEntry:
    family = checkpoint.family
    return _model_entry(
        checkpoint.path,
        checkpoint.recipe,
        _headline(checkpoint.results, family.headline, family.headline_words),
        checkpoint.backbone,
    )


def _generator_entry(folder: Path) -> ModelEntry:
    recipe = read_recipe(folder / RECIPE)
    results = read_results(folder, recipe["name"])
    return _model_entry(folder, recipe, _headline(results, *GENERATOR_HEADLINE), None)


def _model_entry(
    folder: Path, recipe: Mapping[str, Any], headline: str | None, backbone: str | None
) -> ModelEntry:
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="numpy") as file:
        parameters = sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    return ModelEntry(
        name=folder.name,
        task=recipe["task"],
        size=(folder / WEIGHTS).stat().st_size,
        parameters=parameters,
        backbone=backbone,
        headline=headline,
        licence=recipe["licence"],
    )


def _headline(results: list[dict[str, Any]], figure: tuple[str, str, str], words: str) -> str | None:
    """One figure with its interval; the card has them all."""
    for line in results:
        if (line["task"], line["metric"], line["read_out"]) == figure:
            return f"{words} {line['value']:.3f} [{line['low']:.3f}, {line['high']:.3f}]"
    return None
