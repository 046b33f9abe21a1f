"""Small labelled images, held in memory as bytes."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class LabelledImages:
    """N images of one size.

    Attributes:
        pixels: shape (N, C, H, W), uint8.
        labels: classes from 0, shape (N,), int64.
        class_names: by class.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def first(self, count: int) -> LabelledImages:
        """The first ``count`` images."""
        return LabelledImages(self.pixels[:count], self.labels[:count], self.class_names)

    def samples(self, indices: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """Some images as the networks see them: float32 in [-1, 1], shape (n, C, H, W)."""
        return self.pixels[indices].float() / 127.5 - 1
