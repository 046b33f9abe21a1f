"""A generator from an exported repository, with our pipeline class: no code of the folder runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from ..errors import CheckpointError
from ..manifest import check_manifest

if TYPE_CHECKING:
    from diffusers import UNet2DModel

    from ..spell.spell_class_conditional import SpellClassConditionalPipeline

INDEX = "model_index.json"
PIPELINE_CLASS = "SpellClassConditionalPipeline"


def load_exported(folder: Path) -> SpellClassConditionalPipeline:
    """The generator that ``hub-models export`` wrote, on the CPU, float32.

    Raises:
        CheckpointError: a file is missing or altered, tensors do not fit, or it is another pipeline.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    from ..spell.spell_class_conditional import SpellClassConditionalPipeline

    check_manifest(folder)
    again = "fetch or export it again"
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["_class_name"] != ["pipeline", PIPELINE_CLASS]:
            raise ValueError(f"_class_name {index['_class_name']!r} is none of ours")
        network = load_network(folder / "unet")
        scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(
            folder / "scheduler", local_files_only=True
        )
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder}: cannot be loaded ({error}); {again}") from error
    return SpellClassConditionalPipeline(network, scheduler, index.get("id2label"))


def load_network(folder: Path) -> UNet2DModel:
    """The network of a generator, every tensor there and fitting, ready for use."""
    from diffusers import UNet2DModel

    network, info = UNet2DModel.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        low_cpu_mem_usage=False,
        output_loading_info=True,
    )
    misfits = {kind: sorted(map(str, keys)) for kind, keys in info.items() if keys}
    if misfits:
        lines = "".join(f"\n  {kind}: {', '.join(keys)}" for kind, keys in misfits.items())
        raise CheckpointError(f"{folder}: does not fit its config.json; fetch or export it again{lines}")
    return network.eval().requires_grad_(False)
