"""Configuration of the von Mises-Fisher encoder.

No ``from __future__ import annotations`` here: types would be mere text, which ``strict`` does not check.
"""

import math

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class VmfEncoderConfig(PreTrainedConfig):
    """What a `VmfEncoderModel` is made of.

    Attributes:
        input_dim: numbers in a row of features.
        embedding_dim: D, dimension of the space around the sphere, at least 2.
        widths: of the hidden layers of either network, from the input on; None means none.
        log_concentration_scale: a in log kappa = a softplus(network) + b.
        log_concentration_shift: b.
    """

    model_type = "vmf_encoder"

    input_dim: int = 2
    embedding_dim: int = 2
    widths: list[int] | None = None
    log_concentration_scale: float = 1.0
    log_concentration_shift: float = 0.0

    def validate_sizes(self) -> None:
        """Name the first field that describes no network."""
        if self.input_dim < 1:
            raise ValueError(f"input_dim is {self.input_dim}; it must be at least 1")
        if self.embedding_dim < 2:
            raise ValueError(f"embedding_dim is {self.embedding_dim}; directions need at least 2 dimensions")
        if min(self.widths or [1]) < 1:
            raise ValueError(f"widths is {self.widths}; every layer needs a width of at least 1")
        if not (math.isfinite(self.log_concentration_scale) and math.isfinite(self.log_concentration_shift)):
            raise ValueError("log_concentration_scale and log_concentration_shift must be finite numbers")


VmfEncoderConfig.register_for_auto_class()
