"""Run the frozen backbone once over every view of every image, and keep the features.

This is what makes head training cheap (Pretrained Visual Uncertainties, section 4). The cache is a
`view_cache` with two arrays: ``pooled`` and ``stages``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..checkpoint_folder import tensors_sha256
from ..image_sources import ImageSource
from ..modeling_image_uncertainty import ImageUncertaintyModel
from .feature_graph import FeatureGraph, feature_widths
from .view_cache import build_view_cache
from .views import ViewMaker, Views

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import BaseImageProcessor

FORMAT = 2


@dataclass(frozen=True)
class FeatureCache:
    """A finished cache, read from disk on demand.

    Attributes:
        pooled: (N, V, D) pre-logits, memory-mapped; view 0 is the whole image.
        stages: (N, V, S) stage statistics, memory-mapped.
        readable: (N,) False where an image could not be decoded; its features are NaN.
        skipped: name of each such image and why.
        views: what the V views are.
        directory: where it lies.
    """

    pooled: np.ndarray
    stages: np.ndarray
    readable: np.ndarray
    skipped: dict[str, str]
    views: Views
    directory: Path


def build_feature_cache(
    model: ImageUncertaintyModel,
    processor: BaseImageProcessor,
    source: ImageSource,
    views: Views,
    root: Path,
    *,
    directory: Path | None = None,
    accelerator: Accelerator | None = None,
    show_progress: bool = True,
) -> FeatureCache:
    """Build, continue or just open the cache of ``source`` under ``root``.

    Args:
        model: its backbone makes the features; heads are not used. It is put in eval mode.
        root: the cache goes to ``root / <first 16 digits of the content hash>``.
        directory: use exactly this folder instead, and refuse it if it was made of other inputs.
        accelerator: splits the blocks over processes; every process returns the same cache.

    Raises:
        FeatureCacheError: no space, a cut or altered cache, other inputs than the folder was made of, or
            another process is building it.
        BackboneError: its logits cannot be cached (see `feature_widths`).
    """
    model = model.eval()
    maker = ViewMaker(processor, views)
    made_of = {
        "format": FORMAT,
        "backbone": model.config.backbone,
        "backbone_sha256": tensors_sha256(model.backbone.state_dict()),
        "stages": list(model.stages),
    }
    cache = build_view_cache(
        lambda device: FeatureGraph(model, device),
        feature_widths(model, maker.size),
        made_of,
        maker,
        source,
        root,
        directory=directory,
        accelerator=accelerator,
        show_progress=show_progress,
    )
    pooled, stages = cache.arrays["pooled"], cache.arrays["stages"]
    return FeatureCache(pooled, stages, cache.readable, cache.skipped, views, cache.directory)
