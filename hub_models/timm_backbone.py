"""A timm backbone inside a transformers model, whose own initialisation and buffers survive loading. Published code."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn


def new_backbone(architecture: str, num_classes: int, arguments: dict[str, Any] | None) -> Any:
    """A backbone without weights, its modules marked as timm's for `is_initialised`.

    Args:
        num_classes: of its classifier; 0 for none.
        arguments: further ones of ``timm.create_model``.
    """
    # Never pretrained=True here: from_pretrained builds the model on the meta device.
    backbone = timm.create_model(architecture, pretrained=False, num_classes=num_classes, **(arguments or {}))
    for module in backbone.modules():
        module._is_timm = True
    return backbone


def is_initialised(module: nn.Module) -> bool:
    """Whether a module is timm's, so that its own initialisation or the loaded weights stay.

    transformers builds on the meta device: buffers that timm does not save are made again here.
    """
    if hasattr(module, "init_non_persistent_buffers"):
        module.init_non_persistent_buffers()  # type: ignore[operator]
    return bool(getattr(module, "_is_timm", False))
