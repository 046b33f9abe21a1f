"""Checks that a repository's content works: our code, strict loading, the stored output made again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoint_folder import CONFIG, GOLDEN
from ..errors import CheckpointError
from ..generation.exported import INDEX, load_exported
from ..golden import INPUTS, flattened
from ..manifest import read_manifest
from ..published_code import PACKAGE
from ..repository import load_strictly
from .export_pipeline import GENERATOR_ENTRY, PIPELINE, PIPELINES, spell_folder
from .verification import NotMade, require

if TYPE_CHECKING:
    from torch import Tensor

#: dtype -> how far an output may be from the stored one, absolute and relative; of all else, equal.
TOLERANCES = {"float64": 1e-8, "float32": 1e-4, "float16": 1e-2, "bfloat16": 3e-2}


def our_code(folder: Path) -> str:
    """Every Python file is that of the installed hub-models, byte for byte."""
    from importlib import metadata

    files = sorted(folder.glob("*.py"))
    if not files:
        raise NotMade("no Python file")
    installed = metadata.version("hub-models")
    written_by = read_manifest(folder).get("hub_models", installed)
    differing = [path.name for path in files if path.read_bytes() not in _our_sources(path.name)]
    if differing and written_by != installed:
        raise NotMade(
            f"written by hub-models {written_by}, here is {installed}: {', '.join(differing)} differ"
        )
    require(
        f"{name}: not the code of the installed hub-models {installed}; export again" for name in differing
    )
    return f"{len(files)} Python files are those of the installed hub-models {installed}"


def _our_sources(name: str) -> list[bytes]:
    """What a published file of that name may hold."""
    if name == PIPELINE:
        entries = (GENERATOR_ENTRY, *(family.entry for family in PIPELINES.values()))
        return [(spell_folder() / entry).read_bytes() for entry in entries]
    return [path.read_bytes() for path in (PACKAGE / name, spell_folder() / name) if path.is_file()]


def golden_output(folder: Path) -> str:
    """A strict load, every tensor there and fitting, and the stored input gives the stored output."""
    import torch
    from safetensors.torch import load_file

    stored = load_file(folder / GOLDEN) if (folder / GOLDEN).is_file() else None
    if not (folder / CONFIG).is_file() and not (folder / INDEX).is_file():
        raise NotMade("code without weights")
    if stored is None:
        raise CheckpointError(f"{GOLDEN}: missing, so the output cannot be compared; export again")
    with torch.no_grad():
        inputs, found = (_generator_output if (folder / INDEX).is_file() else _output)(folder, stored)
    expected = {name: tensor for name, tensor in stored.items() if name not in inputs}
    require(_differences(expected, found) if expected else [f"{GOLDEN}: holds no output"])
    return f"every tensor fits; {len(expected)} outputs are as stored"


def _output(folder: Path, stored: dict[str, Tensor]) -> tuple[set[str], dict[str, Tensor]]:
    """Names of the inputs, and the model's output for them."""
    model = load_strictly(folder)
    names = set(INPUTS[model.config.model_type](model.config))
    missing = sorted(names - stored.keys())
    if missing:
        raise CheckpointError(f"{GOLDEN}: has no input {', '.join(missing)}; export again")
    return names, flattened(model(**{name: stored[name] for name in names}))


def _generator_output(folder: Path, stored: dict[str, Tensor]) -> tuple[set[str], dict[str, Tensor]]:
    network = load_exported(folder).unet
    output = network(stored["sample"], stored["timestep"], class_labels=stored["class_labels"])
    return {"sample", "timestep", "class_labels"}, {"velocity": output.sample}


def _differences(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """What is not as stored. An output that later code added and nothing was stored for is no difference."""
    import torch

    complaints = []
    for name, tensor in expected.items():
        if name not in found:
            complaints.append(f"{name}: stored, but the model gives none")
            continue
        tolerance = TOLERANCES.get(str(tensor.dtype).removeprefix("torch."), 0.0)
        try:
            torch.testing.assert_close(found[name], tensor, atol=tolerance, rtol=tolerance, equal_nan=True)
        except AssertionError as error:
            complaints.append(f"{name}: not as stored ({_first_line(error)})")
    return complaints


def _first_line(error: AssertionError) -> str:
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())[:200]


def dataset_rows(folder: Path) -> str:
    """``datasets`` opens every configuration and finds a row in every split."""
    from datasets import get_dataset_config_names, load_dataset

    try:
        splits = {
            f"{config}/{split}": next(iter(rows), None)
            for config in get_dataset_config_names(str(folder))
            for split, rows in load_dataset(str(folder), config, streaming=True).items()
        }
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"datasets cannot open it: {error}") from error
    require(f"{name}: holds no row" for name, row in splits.items() if row is None)
    return f"datasets opens {', '.join(splits)}"
