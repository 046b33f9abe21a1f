"""Configuration of the probabilistic embedding model.

No ``from __future__ import annotations`` here: types would be mere text, which ``strict`` does not check.
"""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

CONCENTRATIONS = ("norm", "head")


@strict
class ProbabilisticEmbeddingConfig(PreTrainedConfig):
    """What a `ProbabilisticEmbeddingModel` is made of.

    Attributes:
        backbone: name of a timm architecture.
        backbone_kwargs: further arguments of ``timm.create_model``.
        trained_backbone: modules of the backbone that were trained further; the others are as timm has them.
        dim: D, width of the embedding, at least 2.
        concentration_from: ``norm``, the length of the embedding, or ``head``, a small network of its own.
        concentration_scale: what the length, or the head's output, is multiplied with; above 0.
        head_width: of the hidden layer of that network.
        image_size: height and width of the input in pixels; whole images are squashed onto it.
        class_names: of the classes that the model has a proxy for, if any.
        non_isotropic: whether a proxy has one concentration a coordinate (nivMF) or one in all (vMF).
    """

    model_type = "probabilistic_embedding"

    backbone: str = "tf_efficientnet_lite0"
    backbone_kwargs: dict[str, Any] | None = None
    trained_backbone: list[str] | None = None
    dim: int = 128
    concentration_from: str = "norm"
    concentration_scale: float | int = 1.0
    head_width: int = 256
    image_size: int = 160
    class_names: list[str] | None = None
    non_isotropic: bool = True

    def validate_embedding(self) -> None:
        """Name the first field that no model can be built with."""
        if self.dim < 2:
            raise ValueError(f"dim is {self.dim}; directions need at least 2")
        if self.concentration_from not in CONCENTRATIONS:
            raise ValueError(
                f"concentration_from is {self.concentration_from!r}; choose from {CONCENTRATIONS}"
            )
        if not self.concentration_scale > 0:
            raise ValueError(f"concentration_scale is {self.concentration_scale}; it must be above 0")
        if min(self.head_width, self.image_size) < 1:
            raise ValueError("head_width and image_size must be at least 1")


ProbabilisticEmbeddingConfig.register_for_auto_class()
