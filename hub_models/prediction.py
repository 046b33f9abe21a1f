"""Uncertainties of any number of images, streamed: memory does not grow with their number."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import BaseImageProcessor

from .errors import CheckpointError, HubModelsError, ImageReadError, ImageSourceError
from .image_features import ImageFeatures
from .image_sources import ImageSource, read_source_image
from .modeling_image_uncertainty import ImageUncertaintyModel
from .modeling_probabilistic_embedding import ProbabilisticEmbeddingModel
from .reference_distribution import INSIDE_SHARE

#: Small batches keep activations in the processor's cache: on two cores 16 is 2.5 times faster than 128.
BATCH_SIZE = 16


class PredictionError(HubModelsError, RuntimeError):
    """A model gives NaN or infinity for an image that could be read."""


class OutsideReferenceWarning(UserWarning):
    """More images than expected are unlike those that the percentiles refer to."""


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    Attributes:
        name: of the image in its source.
        uncertainty: the model's default read-out, higher = less certain.
        percentile: share of the reference images that are more certain, 0 to 1; None without a stored
            reference.
        outside_reference: the image is so unlike the reference that the percentile misleads.
        uncertainties: every named read-out.
        label: the likeliest class, or None without a classifier.
        probability: of that class, 0 to 1, or None.
        entropy: of all class probabilities in nats, the usual baseline of an uncertainty, or None.
        embedding: (D,) float32; pre-logits, not normalised, or the mean direction of a probabilistic embedding.
        concentration: kappa of a probabilistic embedding, else None.
    """

    name: str
    uncertainty: float
    percentile: float | None
    outside_reference: bool
    uncertainties: dict[str, float]
    label: int | None
    probability: float | None
    entropy: float | None
    embedding: np.ndarray = field(repr=False, compare=False)
    concentration: float | None = None


@dataclass(frozen=True)
class Skipped:
    """An image that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class FeatureBatch:
    """Consecutive images of a source.

    Attributes:
        items: in order, the name of each image that was read, `Skipped` for each other.
        features: a row for each name in ``items``, on the model's device; None where no image was read.
    """

    items: list[str | Skipped]
    features: ImageFeatures | None

    @property
    def names(self) -> list[str]:
        """Names of the images behind the rows of ``features``."""
        return [item for item in self.items if isinstance(item, str)]


#: The models whose images can be predicted, indexed and retrieved.
ImageModel = ImageUncertaintyModel | ProbabilisticEmbeddingModel


def predict(
    model: ImageModel,
    processor: BaseImageProcessor,
    source: ImageSource,
    batch_size: int = BATCH_SIZE,
    start: int = 0,
) -> Iterator[Prediction | Skipped]:
    """Predict one image after the other, in the order of the source; unreadable ones are skipped, not fatal.

    A batch is held at a time, so 100,000 images need no more memory than 100. Where clearly more images than
    the expected 1 % lie outside the model's reference, one `OutsideReferenceWarning` is given after the last
    image.

    Args:
        model: put in eval mode; runs on the device it is on.
        processor: the one saved beside the model.
        start: index of the first image, to go on with after an interruption.

    Yields:
        For each image from ``start`` on, its `Prediction` or why it was `Skipped`.

    Raises:
        CheckpointError: the model has no read-out.
        PredictionError: features or uncertainty of an image are NaN or infinite; the message names the image.
    """
    if isinstance(model, ProbabilisticEmbeddingModel):
        return _embed(model, processor, source, batch_size, start)
    if not model.config.read_outs:
        raise CheckpointError("the model has no uncertainty read-outs; load a checkpoint that was trained")
    return _predict(model, stream_features(model, processor, source, batch_size, start))


def stream_features(
    model: ImageUncertaintyModel,
    processor: BaseImageProcessor,
    source: ImageSource,
    batch_size: int = BATCH_SIZE,
    start: int = 0,
) -> Iterator[FeatureBatch]:
    """The frozen part of `predict`: features, a batch at a time.

    Raises:
        PredictionError: features of an image are NaN or infinite.
    """
    for items, pixels in _pixel_batches(model, processor, source, batch_size, start):
        batch = FeatureBatch(items, None if pixels is None else _extract(model, pixels))
        if batch.features is not None:
            _require_finite(batch.names, batch.features.pooled, batch.features.stages)
        yield batch


def _pixel_batches(
    model: ImageModel, processor: BaseImageProcessor, source: ImageSource, batch_size: int, start: int
) -> Iterator[tuple[list[str | Skipped], Tensor | None]]:
    model.eval()
    workers = 0 if model.device.type == "cpu" else 4
    batches = _Batches(source, processor, batch_size, start)
    yield from DataLoader(batches, batch_size=None, num_workers=workers)


class _Batches(Dataset):
    """Item = one batch: its names or skipped images, and the model's input for those that were read."""

    def __init__(self, source: ImageSource, processor: BaseImageProcessor, size: int, start: int) -> None:
        self.source, self.processor, self.size, self.start = source, processor, size, start

    def __len__(self) -> int:
        return -(-max(0, len(self.source) - self.start) // self.size)

    def __getitem__(self, number: int) -> tuple[list[str | Skipped], Tensor | None]:
        first = self.start + number * self.size
        items: list[str | Skipped] = []
        rows: list[Tensor] = []
        for index in range(first, min(first + self.size, len(self.source))):
            name = self.source.names[index]
            try:
                image = read_source_image(self.source, index)
            except (ImageReadError, ImageSourceError) as error:
                items.append(Skipped(name, str(error)))
                continue
            rows.append(self.processor(image, return_tensors="pt")["pixel_values"][0])
            items.append(name)
        return items, torch.stack(rows) if rows else None


@torch.inference_mode()
def _extract(model: ImageUncertaintyModel, pixels: Tensor) -> ImageFeatures:
    return model.extract(pixels.to(model.device, model.dtype, memory_format=torch.channels_last))


def _embed(
    model: ProbabilisticEmbeddingModel,
    processor: BaseImageProcessor,
    source: ImageSource,
    batch_size: int,
    start: int,
) -> Iterator[Prediction | Skipped]:
    for items, pixels in _pixel_batches(model, processor, source, batch_size, start):
        rows = iter(
            [] if pixels is None else _distributions(model, [i for i in items if isinstance(i, str)], pixels)
        )
        for item in items:
            yield item if isinstance(item, Skipped) else next(rows)


@torch.inference_mode()
def _distributions(model: ProbabilisticEmbeddingModel, names: list[str], pixels: Tensor) -> list[Prediction]:
    output = model(pixels.to(model.device, model.dtype, memory_format=torch.channels_last))
    _require_finite(names, output.mean_direction, output.concentration)
    columns = (output.uncertainty, output.concentration, output.mean_direction.float().cpu().numpy())
    return [
        Prediction(
            name=name,
            uncertainty=float(uncertainty),
            percentile=None,
            outside_reference=False,
            uncertainties={},
            label=None,
            probability=None,
            entropy=None,
            embedding=direction.copy(),
            concentration=float(concentration),
        )
        for name, uncertainty, concentration, direction in zip(names, *columns, strict=True)
    ]


def _predict(model: ImageUncertaintyModel, batches: Iterator[FeatureBatch]) -> Iterator[Prediction | Skipped]:
    seen = outside = 0
    for batch in batches:
        predictions = iter(_read_out(model, batch))
        for item in batch.items:
            if isinstance(item, Skipped):
                yield item
                continue
            prediction = next(predictions)
            seen += 1
            outside += prediction.outside_reference
            yield prediction
    _warn_if_outside(outside, seen)


@torch.inference_mode()
def _read_out(model: ImageUncertaintyModel, batch: FeatureBatch) -> list[Prediction]:
    if batch.features is None:
        return []
    output = model.read_out(batch.features)
    read_outs = output.uncertainties or {}
    scores = [output.uncertainty, *read_outs.values()]
    _require_finite(batch.names, *(score for score in scores if score is not None))
    columns: dict[str, list[Any]] = {
        "uncertainty": _column(output.uncertainty),
        "percentile": [
            None if math.isnan(share) else share for share in _column(output.uncertainty_percentile)
        ],
        "outside_reference": [distance > 1 for distance in _column(output.reference_distance)],
        "uncertainties": [
            dict(zip(read_outs, row, strict=True))
            for row in zip(*map(_column, read_outs.values()), strict=True)
        ],
        # A copy of each row: a view would keep the whole batch alive.
        "embedding": [row.copy() for row in batch.features.pooled.float().cpu().numpy()],
        **_class_columns(batch.features.logits, len(batch.names)),
    }
    return [
        Prediction(name, **{column: values[row] for column, values in columns.items()})
        for row, name in enumerate(batch.names)
    ]


def _class_columns(logits: Tensor | None, rows: int) -> dict[str, list[Any]]:
    if logits is None:
        return {name: [None] * rows for name in ("label", "probability", "entropy")}
    probabilities = logits.float().softmax(dim=1)
    best = probabilities.max(dim=1)
    return {
        "label": best.indices.tolist(),
        "probability": best.values.tolist(),
        "entropy": torch.special.entr(probabilities).sum(dim=1).tolist(),
    }


def _column(values: Tensor | None) -> list[float]:
    return [] if values is None else values.tolist()


def _require_finite(names: list[str], *tensors: Tensor) -> None:
    for tensor in tensors:
        finite = torch.isfinite(tensor).reshape(len(names), -1).all(dim=1)
        if not finite.all():
            name = names[int((~finite).nonzero()[0])]
            raise PredictionError(
                f"{name}: the model gives NaN or infinity for it; check its weights (load or export it "
                "again) and the precision they run in"
            )


def _warn_if_outside(outside: int, seen: int) -> None:
    expected = seen * (1 - INSIDE_SHARE)
    chance = 3 * math.sqrt(expected * INSIDE_SHARE)  # three standard deviations of that count
    if outside > expected + chance:
        warnings.warn(
            f"{outside} of {seen} images ({outside / seen:.0%}) lie outside the reference of this model, "
            f"{1 - INSIDE_SHARE:.0%} is expected: do not trust their percentiles; store a reference of such "
            "images with `hub-models recalibrate`",
            OutsideReferenceWarning,
            stacklevel=2,
        )
