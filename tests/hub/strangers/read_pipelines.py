"""Run by itself, in a process that knows diffusers but not this project: generators, and shields for other pipelines.

Arguments: ``id@revision`` of generators, and ``base+id@revision`` for a custom pipeline upon a base. Prints JSON.
Offline, code is read from the folder in the cache: by id, diffusers asks the Hub for the commit even if all is there.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from diffusers import DiffusionPipeline
from huggingface_hub import constants, snapshot_download
from safetensors.torch import load_file

TOLERANCE = 1e-4


def main(*references: str) -> None:
    print(json.dumps({reference: answer(reference) for reference in references}))


def answer(reference: str) -> Any:
    base, _, custom = reference.rpartition("+")
    repository, revision = custom.split("@")
    folder = snapshot_download(repository, revision=revision)
    if constants.HF_HUB_OFFLINE:
        repository = folder
        _forget_local_code()
    if base:
        pipe = DiffusionPipeline.from_pretrained(
            base, custom_pipeline=repository, custom_revision=revision, trust_remote_code=True
        )
        return [type(pipe).__name__, sorted(pipe.components)]
    pipe = DiffusionPipeline.from_pretrained(repository, revision=revision, trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    golden = load_file(f"{folder}/golden.safetensors")
    velocity = golden.pop("velocity")
    with torch.no_grad():
        found = pipe.unet(
            golden["sample"], golden["timestep"], class_labels=golden.get("class_labels")
        ).sample
    torch.testing.assert_close(found, velocity, atol=TOLERANCE, rtol=TOLERANCE)
    noise = torch.Generator().manual_seed(3)
    label = next(iter(pipe.config["class_names"])) if "class_names" in pipe.config else 3
    image = pipe([label], num_inference_steps=2, generator=noise, output_type="pt").images
    return [type(pipe).__name__, round(image.double().mean().item(), 6)]


def _forget_local_code() -> None:
    """As in a fresh process: all code that diffusers takes from folders shares one place, by file name."""
    for name in [name for name in sys.modules if name.startswith("diffusers_modules.local")]:
        del sys.modules[name]


if __name__ == "__main__":
    main(*sys.argv[1:])
