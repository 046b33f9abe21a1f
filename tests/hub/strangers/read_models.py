"""Run by itself, in a process that knows transformers but not this project: load models by id, compare, predict.

Arguments: a photo, then ``id@revision`` of each model. Prints one line of JSON: what each model said.
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel, pipeline

TOLERANCE = 1e-5


def main(photo: str, *references: str) -> None:
    print(json.dumps({reference: answers(photo, *reference.split("@")) for reference in references}))


def answers(photo: str, repository: str, revision: str) -> dict[str, Any]:
    where = {"revision": revision, "trust_remote_code": True}
    model, info = AutoModel.from_pretrained(repository, **where, output_loading_info=True)
    assert not any(info.values()), info
    origin = type(model).__module__
    assert origin.startswith("transformers_modules."), origin
    compare(model, load_file(hf_hub_download(repository, "golden.safetensors", revision=revision)))
    said: dict[str, Any] = {"class": type(model).__name__, "code": origin.split(".")[-2][:12]}
    if hasattr(model.config, "image_size"):
        processor = AutoImageProcessor.from_pretrained(repository, revision=revision)
        with Image.open(photo) as image:
            said["pixels"] = processor(image, return_tensors="pt")["pixel_values"].mean().item()
    if getattr(model.config, "custom_pipelines", None):
        said["score"] = pipeline(model=repository, **where)(photo)["score"]
        task = next(iter(model.config.custom_pipelines))
        assert pipeline(task, model=repository, **where)(photo)["score"] == said["score"]
    return said


def compare(model: Any, golden: dict[str, torch.Tensor]) -> None:
    inputs = {
        name: golden.pop(name) for name in inspect.signature(model.forward).parameters if name in golden
    }
    assert inputs
    assert golden
    with torch.no_grad():
        output = model(**inputs)
    for name, expected in golden.items():
        field, _, key = name.partition(".")
        found = output[field][key] if key else output[field]
        torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=TOLERANCE, msg=f"{name} differs")


if __name__ == "__main__":
    main(*sys.argv[1:])
