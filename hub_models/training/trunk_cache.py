"""Run a backbone's frozen trunk once over every view of every image, and keep its maps in half precision.

What makes it cheap to train the last stages of a backbone: they see the maps again and again, the trunk once. A
`view_cache` with one array, ``maps``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..backbones import frozen_graph
from ..checkpoint_folder import tensors_sha256
from ..errors import BackboneError
from ..image_sources import ImageSource
from .view_cache import ViewCache, build_view_cache
from .views import ViewMaker, Views

if TYPE_CHECKING:
    from transformers import BaseImageProcessor

FORMAT = 1
BATCH = 16


@dataclass(frozen=True)
class TrunkCache:
    """Maps of every view of every image, read from disk on demand.

    Attributes:
        views: of `view_cache`: which images could be read, what the views are.
        shape: of a map, (C, h, w).
    """

    cached: ViewCache
    shape: tuple[int, int, int]

    @property
    def view_count(self) -> int:
        """V, views of an image; view 0 is the whole image."""
        return self.cached.views.count

    def __len__(self) -> int:
        """Images, those that could not be read included."""
        return len(self.cached.readable)

    def read(self, images: np.ndarray, views: np.ndarray | int = 0) -> Tensor:
        """Maps (B, C, h, w), float32, of B images in one view each, laid out channels last."""
        channels, height, width = self.shape
        rows = torch.from_numpy(self.cached.arrays["maps"][images, views])
        return rows.float().view(-1, height, width, channels).permute(0, 3, 1, 2)


def build_trunk_cache(
    trunk: nn.Module,
    name: str,
    processor: BaseImageProcessor,
    source: ImageSource,
    views: Views,
    root: Path,
    *,
    show_progress: bool = True,
) -> TrunkCache:
    """Build, continue or just open the cache of ``source`` under ``root``.

    Args:
        trunk: see `hub_models.training.backbone_cut`; run in eval mode.
        name: of the architecture that it was cut from.

    Raises:
        FeatureCacheError: see `build_view_cache`.
        BackboneError: the trunk gives values that half precision cannot hold.
    """
    trunk = trunk.eval()
    maker = ViewMaker(processor, views)
    with torch.no_grad():
        channels, height, width = trunk(torch.zeros(1, 3, *maker.size)).shape[1:]
    cached = build_view_cache(
        lambda device: _Maps(trunk.to(device, memory_format=torch.channels_last), device),  # type: ignore[call-overload]
        {"maps": channels * height * width},
        {"format": FORMAT, "trunk_of": name, "trunk_sha256": tensors_sha256(trunk.state_dict())},
        maker,
        source,
        root,
        show_progress=show_progress,
        dtype="F16",
    )
    return TrunkCache(cached, (channels, height, width))


class _Maps:
    """The trunk as a fast function over small batches, which keep its activations in the processor's cache."""

    def __init__(self, trunk: nn.Module, device: torch.device) -> None:
        self.trunk, self.device = _ChannelsLast(trunk), device
        self._graph: Any = None

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> dict[str, np.ndarray]:
        parts = []
        for batch in pixels.split(BATCH):
            batch = batch.to(self.device, memory_format=torch.channels_last)
            if self._graph is None:
                self._graph = frozen_graph(self.trunk, batch)
            parts.append(self._graph(batch)[0].half().cpu())
        maps = torch.cat(parts)
        if not maps.isfinite().all():
            raise BackboneError("the trunk gives values beyond half precision; cut the backbone elsewhere")
        return {"maps": maps.numpy()}


class _ChannelsLast(nn.Module):
    """A map as one row, channels last: the order in which convolutions on a CPU are fast."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.trunk(pixels).permute(0, 2, 3, 1).flatten(1),)
