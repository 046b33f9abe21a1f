"""Another reference for the percentiles: "more uncertain than 93 % of *these* images"."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import BaseImageProcessor

from .atomic import atomic_path, write_text
from .checkpoint_folder import CONFIG, GOLDEN, WEIGHTS
from .errors import ImageSourceError
from .golden import golden_tensors
from .image_features import ImageFeatures
from .image_sources import ImageSource, SubsetSource
from .manifest import MANIFEST, read_manifest, write_manifest
from .modeling_image_uncertainty import ImageUncertaintyModel
from .prediction import Skipped, stream_features
from .progress import progress_bar
from .repository import load_strictly, replace_folder

#: More images do not make the 513 stored quantiles better, but their features would fill the memory.
MAX_IMAGES = 10_000
SEED = 0
REFERENCE_PREFIX = "reference."


def recalibrate(
    model: ImageUncertaintyModel,
    processor: BaseImageProcessor,
    source: ImageSource,
    name: str,
    *,
    show_progress: bool = True,
) -> list[Skipped]:
    """Store ``source`` as the distribution that the model's percentiles refer to; raw uncertainties stay the
    same.

    Of a larger source, ``MAX_IMAGES`` are drawn with a fixed seed, so memory has a limit and the result
    repeats.

    Args:
        model: changed in place.
        name: what the images are; stored in the configuration.

    Returns:
        The images that could not be read.

    Raises:
        ImageSourceError: fewer than two images could be read.
        PredictionError: features of an image are NaN or infinite.
    """
    chosen: ImageSource = source
    if len(source) > MAX_IMAGES:
        indices = np.random.default_rng(SEED).choice(len(source), MAX_IMAGES, replace=False)
        chosen = SubsetSource(source, np.sort(indices).tolist())
    parts: list[ImageFeatures] = []
    skipped: list[Skipped] = []
    with progress_bar("features", len(chosen), shown=show_progress) as advance:
        for batch in stream_features(model, processor, chosen):
            skipped += [item for item in batch.items if isinstance(item, Skipped)]
            if batch.features is not None:
                parts.append(batch.features)
            advance(len(batch.items))
    readable = len(chosen) - len(skipped)
    if readable < 2:
        reason = f"; the first: {skipped[0].reason}" if skipped else ""
        raise ImageSourceError(
            f"{name}: {readable} of {len(chosen)} images can be read, a reference needs at least two{reason}"
        )
    model.set_reference(_joined(parts), name)
    return skipped


def _joined(parts: list[ImageFeatures]) -> ImageFeatures:
    logits = [part.logits for part in parts if part.logits is not None]
    return ImageFeatures(
        torch.cat([part.pooled for part in parts]),
        torch.cat([part.stages for part in parts]),
        torch.cat(logits) if logits else None,
    )


def save_recalibrated(model: ImageUncertaintyModel, original: Path, target: Path) -> None:
    """Write a copy of a model repository with the reference that ``model`` has now, in one step.

    Weights, configuration and golden tensors are changed where the reference shows in them and the manifest
    is made anew; every other file is copied. A repository that is at ``target`` already is replaced.

    Args:
        model: loaded from ``original``, then recalibrated.
        original: the repository's folder.

    Raises:
        CheckpointError: ``target`` holds something else or cannot be written.
    """
    about = {key: value for key, value in read_manifest(original).items() if key != "files"}
    reference = {
        key: value.detach().float().cpu().contiguous()
        for key, value in model.state_dict().items()
        if key.startswith(REFERENCE_PREFIX)
    }
    config = json.loads((original / CONFIG).read_text(encoding="utf-8"))
    config |= {"reference_name": model.config.reference_name, "reference_size": model.config.reference_size}
    with replace_folder(target) as folder:
        for path in original.iterdir():
            if path.is_file() and path.name not in (CONFIG, GOLDEN, MANIFEST, WEIGHTS):
                shutil.copyfile(path, folder / path.name)
        write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
        tensors = {WEIGHTS: load_file(original / WEIGHTS) | reference, GOLDEN: golden_tensors(model)}
        for file_name, content in tensors.items():
            with atomic_path(folder / file_name) as temporary:
                save_file(content, temporary, {"format": "pt"})
        write_manifest(folder, about)
        load_strictly(folder)
