"""Configuration of the image uncertainty model.

No ``from __future__ import annotations`` here: types would be mere text, which ``strict`` does not check.
"""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

HEAD_INPUTS = ("pooled", "stages", "stage_spread", "class_statistics")


@strict
class ImageUncertaintyConfig(PreTrainedConfig):
    """What an `ImageUncertaintyModel` is made of.

    Attributes:
        backbone: name of a timm architecture.
        backbone_kwargs: further arguments of ``timm.create_model``.
        num_classes: outputs of the classifier; 0 for a backbone without one.
        stage_indices: which intermediate feature maps feed the ``stages`` input; None takes at most six.
        read_outs: name -> ``{"inputs": [...], "width": int, "depth": int, "members": int}``. Inputs are
            ``pooled`` (the pre-logits), ``stages`` (mean and standard deviation of intermediate maps),
            ``stage_spread`` (the deviations alone) and ``class_statistics`` (sorted log-probabilities and
            their summaries). ``members`` heads are averaged.
        default_weights: name -> weight of the standardised read-outs whose sum is the model's
            ``uncertainty``; None weighs all alike.
        image_size: height and width of the input that the weights were trained at, for documentation.
        reference_size: number of images behind the stored reference distribution; 0 = none stored.
        reference_name: what these images were.
    """

    model_type = "image_uncertainty"

    backbone: str = "tf_efficientnet_lite0"
    backbone_kwargs: dict[str, Any] | None = None
    num_classes: int = 1000
    stage_indices: list[int] | None = None
    read_outs: dict[str, Any] | None = None
    default_weights: dict[str, float | int] | None = None
    image_size: int = 224
    reference_size: int = 0
    reference_name: str = ""

    def validate_read_outs(self) -> None:
        """Name the first field of ``read_outs`` or ``default_weights`` that cannot be built."""
        read_outs = self.read_outs or {}
        for name, spec in read_outs.items():
            where = f"read_outs[{name!r}]"
            if not name.isidentifier():
                raise ValueError(f"{where}: the name must be letters, digits and underscores")
            unknown = set(spec) - {"inputs", "width", "depth", "members"}
            if unknown:
                raise ValueError(f"{where} has unknown fields {sorted(unknown)}")
            inputs = spec.get("inputs", [])
            if not inputs or set(inputs) - set(HEAD_INPUTS):
                raise ValueError(f"{where}['inputs'] is {inputs}; choose from {list(HEAD_INPUTS)}")
            if "class_statistics" in inputs and self.num_classes < 2:
                raise ValueError(f"{where} wants class_statistics, but num_classes is {self.num_classes}")
            if min(spec.get("width", 512), spec.get("members", 1)) < 1 or spec.get("depth", 2) < 0:
                raise ValueError(f"{where} needs width and members of at least 1, depth of at least 0")
        weighted = set(self.default_weights or {})
        if weighted - set(read_outs):
            raise ValueError(f"default_weights names {sorted(weighted)}, read_outs {sorted(read_outs)}")


ImageUncertaintyConfig.register_for_auto_class()
