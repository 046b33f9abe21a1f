"""Configuration of the failure network model.

No ``from __future__ import annotations`` here: types would be mere text, which ``strict`` does not check.
"""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class FailureNetworkConfig(PreTrainedConfig):
    """What a `FailureNetworkModel` is about; its numbers are tensors.

    Attributes:
        names: of the failures, in the order of the tensors.
        stages: process stage of each failure ("" = none), or None.
        num_edges: cause-effect relations.
        source: where the numbers come from, for documentation.
    """

    model_type = "failure_network"

    names: list[str] | None = None
    stages: list[str] | None = None
    num_edges: int = 0
    source: str = ""

    def validate_names(self) -> None:
        """Names must be unique, and stages as many."""
        names = self.names or []
        if len(set(names)) < len(names):
            raise ValueError("names holds a name twice")
        if self.stages is not None and len(self.stages) != len(names):
            raise ValueError(f"stages holds {len(self.stages)} values for {len(names)} names")
        if self.num_edges < 0:
            raise ValueError(f"num_edges is {self.num_edges}; it must be at least 0")


FailureNetworkConfig.register_for_auto_class()
