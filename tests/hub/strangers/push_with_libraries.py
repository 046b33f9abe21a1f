"""Run by itself: what transformers, timm, diffusers and datasets push, they read back; under the token's own name."""

from __future__ import annotations

import datasets
import timm
import torch
from diffusers import DDPMScheduler
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, ResNetConfig, ViTImageProcessor

ResNetConfig(depths=[1, 1]).push_to_hub("ada/config")
assert AutoConfig.from_pretrained("ada/config").depths == [1, 1]
ViTImageProcessor(size={"height": 64, "width": 64}).push_to_hub("ada/config")
assert AutoImageProcessor.from_pretrained("ada/config").size["height"] == 64

network = timm.create_model("test_vit", num_classes=7)
timm.models.push_to_hf_hub(network, "ada/timm")
again = timm.create_model("hf-hub:ada/timm", pretrained=True)
assert torch.equal(again.head.weight, network.head.weight)

DDPMScheduler(num_train_timesteps=77).push_to_hub("ada/scheduler")
assert DDPMScheduler.from_pretrained("ada/scheduler").config.num_train_timesteps == 77

pictures = [Image.new("RGB", (8, 8), (40 * i, 0, 0)) for i in range(6)]
rows = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 2] * 2})
rows.cast_column("image", datasets.Image()).push_to_hub("ada/pictures")
assert datasets.load_dataset("ada/pictures", split="train")[1]["image"].getpixel((0, 0)) == (40, 0, 0)
assert len(list(datasets.load_dataset("ada/pictures", split="train", streaming=True))) == 6
print("read back")
