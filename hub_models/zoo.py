"""The zoo: list the released models, find one by name, load it strictly."""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import paths
from .checkpoint_folder import (
    CHECKSUMS,
    CONFIG,
    RECIPE,
    WEIGHTS,
    CheckpointFolder,
    is_checkpoint_folder,
    open_checkpoint,
    read_recipe,
    read_results,
)
from .errors import CheckpointError
from .families import FAMILIES, GENERATION
from .hub_loading import fetch, split_reference
from .manifest import MANIFEST, check_manifest, read_manifest
from .published import read_published
from .published_code import closure

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline
    from transformers import BaseImageProcessor, PreTrainedModel

DIST = Path("dist/hub")
#: What a repository of a diffusers pipeline has and one of transformers has not.
PIPELINE_INDEX = "model_index.json"
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


def list_models(task: str | None = None, licence: str | None = None) -> list[ModelEntry]:
    """The released models, by name.

    Args:
        task, licence: only those; case does not matter.

    Raises:
        CheckpointError: a released checkpoint is incomplete or altered.
    """
    heads = [_entry(open_checkpoint(path)) for path in released_checkpoints()]
    generators = [_generator_entry(path) for path in paths.CHECKPOINTS.glob("*") if is_generator(path)]
    entries = sorted([*heads, *generators], key=lambda entry: entry.name)
    return [
        entry
        for entry in entries
        if (task or entry.task).lower() == entry.task.lower()
        and (licence or entry.licence).lower() == entry.licence.lower()
    ]


def load(name: str | Path, device: str | torch.device | None = None) -> PreTrainedModel | DiffusionPipeline:
    """A model of the zoo with all its weights, in eval mode; a generator as a diffusers pipeline.

    Its files are checked against their sha256, and every tensor must be there and fit. Only our own classes
    run, never code from the folder or from a Hub.

    Args:
        name: see `list_models`; a folder that ``hub-models export`` or ``hub-models train`` made; or a
            repository on the Hub, ``org/name`` or ``org/name@revision``.
        device: where to put it; None leaves it on the CPU.

    Raises:
        CheckpointError: the name is unknown, a file is missing or altered, or tensors do not fit (all are
            listed). What concerns the Hub is a `HubError`, one type a cause.
        BackboneError: the backbone's package is not installed.
    """
    if is_generator(name):
        from .generation.checkpoints import load_pipeline

        pipe = load_pipeline(name)
        return pipe if device is None else pipe.to(device)
    folder = resolve(name)
    if (folder / PIPELINE_INDEX).is_file():
        from .generation.exported import load_exported

        pipe = load_exported(folder)
        return pipe if device is None else pipe.to(device)
    from .repository import load_strictly

    _require_ours(folder)
    model = load_strictly(folder)
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
    kept in the cache; ``org/name`` or ``org/name@revision`` on the Hub; a name that this project published but does
    not ship, at the commit that it published.

    Raises:
        CheckpointError: nothing of that name is found, or a checkpoint is incomplete or altered.
        BackboneError: the backbone's weights cannot be had.
    """
    for folder in (Path(name), DIST / name):
        if (folder / MANIFEST).is_file():
            return folder.resolve()
    if not Path(name).is_dir() and not (paths.CHECKPOINTS / name).is_dir():
        if split_reference(str(name)):
            return fetch(str(name)).folder
        release = read_published().get(str(name))
        if release is not None:
            return fetch(f"{release.repository}@{release.commit}", release.kind).folder
    return _assembled(open_checkpoint(find_checkpoint(name)))


def released_checkpoints() -> list[Path]:
    """The folders of the checkpoints of our families that come with this package, by name."""
    tasks = {family.task for family in FAMILIES}  # not those of the small generators and classifiers
    folders = (path for path in paths.CHECKPOINTS.glob("*") if is_checkpoint_folder(path))
    return sorted(path for path in folders if read_recipe(path / RECIPE)["task"] in tasks)


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


def _require_ours(folder: Path) -> None:
    """Refuse what is no model of our families, before transformers builds anything of it."""
    kind = read_manifest(folder).get("kind", "model")
    if kind != "model":
        raise CheckpointError(f"{folder}: a {kind}, not a model; `hub-models list` shows the models")
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"{folder}: code without weights; pass it to diffusers as `custom_pipeline` (see its README.md)"
        )
    try:
        model_type = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: cannot be loaded ({CONFIG} is damaged: {error}); fetch or export the model again"
        ) from error
    known = [family.model_type for family in FAMILIES]
    if model_type not in known:
        raise CheckpointError(
            f"{folder}: cannot be loaded (model type {model_type!r} is not among ours, {', '.join(known)}); "
            "update hub-models, or load it with the library that made it"
        )


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
    task, *rest = figure
    for line in results:
        if task in ("", line["task"]) and rest == [line["metric"], line["read_out"]]:
            return f"{words} {line['value']:.3f} [{line['low']:.3f}, {line['high']:.3f}]"
    return None
