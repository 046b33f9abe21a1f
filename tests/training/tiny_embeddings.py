"""A recipe of a tiny embedding over generated images."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from ..generated_images import write_images

RECIPE = """\
name = "tiny-embedding"
task = "probabilistic-embedding"
summary = "A tiny embedding with random weights."
licence = "research-only"
backbone = "test_efficientnet"
weights = "{folder}/backbone.safetensors"

[data]
images = "{folder}/images"

[network]
dim = 8
image_size = 32
trained_stages = 1

[views]
crops = 2

[loss]
name = "{loss}"

[training]
epochs = 2
batch_size = 6
start_concentration = 20.0
"""


def write_recipe(folder: Path, loss: str = "el_nivmf", images: int = 4) -> Path:
    """A recipe with its backbone and ``images`` images of each of three classes."""
    torch.manual_seed(0)
    save_file(timm.create_model("test_efficientnet").state_dict(), folder / "backbone.safetensors")
    write_images(folder / "images", images, ("ant", "bee", "cat"))
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(folder=folder, loss=loss), encoding="utf-8")
    return path
