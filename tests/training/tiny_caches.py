"""Feature caches of a tiny model over generated images, in this process or in one of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPImageProcessor

from hub_models.configuration_image_uncertainty import ImageUncertaintyConfig
from hub_models.image_sources import FolderSource
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel
from hub_models.training.feature_cache import FeatureCache, build_feature_cache
from hub_models.training.view_cache import BLOCK_IMAGES
from hub_models.training.views import Views

VIEWS = Views(crops=1, degraded=1, seed=3)
BLOCKS = 4
IMAGES = (BLOCKS - 1) * BLOCK_IMAGES + 5

#: How every process that the tests start begins. The number of threads decides the order of additions.
PREAMBLE = f"""
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.training.tiny_caches import build, processor
"""


def tiny_model(backbone: str = "test_efficientnet", **fields: Any) -> ImageUncertaintyModel:
    torch.manual_seed(0)
    return ImageUncertaintyModel(ImageUncertaintyConfig(backbone=backbone, **fields)).eval()


def processor(side: int = 32) -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def build(images: Path, root: Path, views: Views = VIEWS, **options: Any) -> FeatureCache:
    model, maker = options.pop("model", None) or tiny_model(), options.pop("processor", None) or processor()
    return build_feature_cache(
        model, maker, FolderSource(images), views, root, show_progress=False, **options
    )


def features(directory: Path) -> bytes:
    return (directory / "features.safetensors").read_bytes()


def noted_blocks(directory: Path) -> list[int]:
    lines = [line for journal in directory.glob("done-*.jsonl") for line in journal.read_text().splitlines()]
    return sorted(json.loads(line)["block"] for line in lines if line.endswith("}"))


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", PREAMBLE + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output_of(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output
