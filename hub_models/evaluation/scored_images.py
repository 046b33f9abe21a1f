"""Images of a data set with everything a protocol needs: labels, predictions, embeddings, uncertainties."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BaseImageProcessor

from ..datasets_builder import open_dataset
from ..image_features import ImageFeatures
from ..modeling_image_uncertainty import ImageUncertaintyModel
from ..training.feature_cache import build_feature_cache
from ..training.views import Views
from .baselines import baselines

CHUNK = 2048
DEFAULT = "uncertainty"


@dataclass(frozen=True)
class ScoredImages:
    """A split under one model.

    Attributes:
        uncertainties: read-out or baseline -> (N,) on whole images; ``uncertainty`` is the model's default.
        cropped: the same on a fixed centre crop of each image, or empty where crops were not asked for.
        predictions: (N,) predicted classes, -1 without a classifier.
        embeddings: (N, D) pre-logits.
        labels: (N,).
        columns: the data set's further columns.
    """

    uncertainties: dict[str, np.ndarray]
    cropped: dict[str, np.ndarray]
    predictions: np.ndarray
    embeddings: np.ndarray
    labels: np.ndarray
    columns: Any

    @property
    def wrong(self) -> np.ndarray:
        """(N,) True where the predicted class is not the label."""
        return self.predictions != self.labels


def score_dataset(
    model: ImageUncertaintyModel,
    processor: BaseImageProcessor,
    name: str,
    split: str,
    root: Path,
    crops: bool = False,
) -> ScoredImages:
    """Features from the cache under ``root``, built if need be, and all uncertainties of them.

    Args:
        crops: also score a centre crop of 10 to 75 % of each image's sides, fixed per image.
    """
    source = open_dataset(name, split)
    cache = build_feature_cache(model, processor, source, Views(centre_crops=int(crops)), root)
    uncertainties, predictions = _score(model, cache.pooled[:, 0], cache.stages[:, 0])
    cropped = _score(model, cache.pooled[:, 1], cache.stages[:, 1])[0] if crops else {}
    return ScoredImages(
        uncertainties, cropped, predictions, cache.pooled[:, 0], np.asarray(source.labels), source.dataset
    )


@torch.inference_mode()
def _score(
    model: ImageUncertaintyModel, pooled: np.ndarray, stages: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    scores: dict[str, list[np.ndarray]] = {}
    predictions = []
    for start in range(0, len(pooled), CHUNK):
        rows = slice(start, start + CHUNK)
        features = features_of(model, pooled[rows], stages[rows])
        read_outs = model.uncertainties(features)
        default = model.combine(read_outs)
        named = {} if default is None else {DEFAULT: default}
        for name, values in {**named, **read_outs, **baselines(features)}.items():
            scores.setdefault(name, []).append(values.double().numpy())
        none = np.full(len(pooled[rows]), -1)
        predictions.append(none if features.logits is None else features.logits.argmax(dim=1).numpy())
    return {name: np.concatenate(parts) for name, parts in scores.items()}, np.concatenate(predictions)


def features_of(model: ImageUncertaintyModel, pooled: np.ndarray, stages: np.ndarray) -> ImageFeatures:
    """Cached rows as the model's features, with logits where it has a classifier."""
    tensor = torch.from_numpy(np.array(pooled))
    return ImageFeatures(tensor, torch.from_numpy(np.array(stages)), model.classify(tensor))
