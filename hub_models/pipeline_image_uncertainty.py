"""``pipeline("image-uncertainty")``: images in, uncertainties in plain numbers out. Published code."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import Pipeline

from .errors import CheckpointError
from .image_reading import ImageInput, read_image

READ_OUT = "uncertainties."


class ImageUncertaintyPipeline(Pipeline):
    """How uncertain a model is about images.

    Takes a path, an ``http(s)://`` URL, the bytes of a file, a PIL image, or a list of them. Gives for each

        score               the default uncertainty, higher = less certain
        percentile          share of the reference images that are more certain, 0 to 1; None without them
        outside_reference   True where the image is so unlike the reference that the percentile misleads
        uncertainties       every named read-out
        labels              the ``top_k`` (5) likeliest classes, each with its probability as ``score``; only
                            with a classifier

    Raises:
        ImageReadError: an image cannot be read; the message names it, by position if it has no name.
        CheckpointError: on construction, the model has no read-out.
    """

    _load_image_processor = True
    _load_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.model.config.read_outs:
            raise CheckpointError(
                "the model has no uncertainty read-outs; load a checkpoint that was trained"
            )

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Score one image (a dict) or a list of images (a list of dicts); data sets and generators stream.

        Args:
            inputs: an image as the class takes it, or a list, data set or generator of them.
            kwargs: ``top_k``, ``batch_size``, ``num_workers``.
        """
        if isinstance(inputs, list | tuple):
            if not inputs:
                return []
            inputs = [(image, _name(image, position)) for position, image in enumerate(inputs)]
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self, top_k: int | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        return {}, {}, {} if top_k is None else {"top_k": top_k}

    def preprocess(self, input_: ImageInput | tuple[ImageInput, str | None]) -> dict[str, Tensor]:
        """Read an image and bring it to the model's input, (1, 3, H, W)."""
        source, name = input_ if isinstance(input_, tuple) else (input_, None)
        return {
            "pixel_values": self.image_processor(read_image(source, name), return_tensors="pt")[
                "pixel_values"
            ]
        }

    def _forward(self, model_inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        output = self.model(**model_inputs)
        # Flat, because the base class takes batches apart one tensor at a time.
        scores = {
            "uncertainty": output.uncertainty,
            "percentile": output.uncertainty_percentile,
            "reference_distance": output.reference_distance,
            **{READ_OUT + name: value for name, value in output.uncertainties.items()},
        }
        return scores if output.logits is None else {**scores, "logits": output.logits}

    def postprocess(self, model_outputs: dict[str, Tensor], top_k: int = 5) -> dict[str, Any]:
        """One image's output in plain Python."""
        percentile = model_outputs["percentile"].item()
        result: dict[str, Any] = {
            "score": model_outputs["uncertainty"].item(),
            "percentile": None if math.isnan(percentile) else percentile,
            "outside_reference": model_outputs["reference_distance"].item() > 1,
            "uncertainties": {
                key.removeprefix(READ_OUT): value.item()
                for key, value in model_outputs.items()
                if key.startswith(READ_OUT)
            },
        }
        if "logits" in model_outputs:
            result["labels"] = list(self._labels(model_outputs["logits"][0], top_k))
        return result

    def _labels(self, logits: Tensor, top_k: int) -> Iterator[dict[str, Any]]:
        best = torch.topk(logits.softmax(dim=0), min(top_k, len(logits)))
        names = self.model.config.id2label
        for probability, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            yield {"label": names.get(index, f"LABEL_{index}"), "score": probability}


def _name(image: ImageInput, position: int) -> str | None:
    """What an error calls an image of a list: paths and URLs name themselves."""
    return f"image {position} of the list" if isinstance(image, bytes) or hasattr(image, "mode") else None
