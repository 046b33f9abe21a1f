"""A small convolutional classifier: judges whether a generated image is of its class, and gives features."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from .checkpoints import open_model

BATCH = 500


class SmallClassifier(nn.Module):
    """Images (B, channels, H, W) in [-1, 1] -> logits (B, classes).

    Four convolution blocks, each at half the resolution of the one before it, then the mean over positions.

    Args:
        channels: of an image.
        classes: number of classes.
        width: channels of the first block; each following one has twice as many, up to four times.
    """

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width, 4 * width]
        self.blocks = nn.Sequential(*(_block(before, after) for before, after in itertools.pairwise(widths)))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.head(self.blocks(images).mean((2, 3)))

    def describe(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features for comparing images, shape (B, 16 width), and logits, in one pass.

        The features are the third block's, averaged to 2x2 places: the last layer's keep little beside the class,
        and so could not tell varied images of a class from alike ones.
        """
        features = self.blocks[:3](images)
        logits = self.head(self.blocks[3:](features).mean((2, 3)))
        return functional.adaptive_avg_pool2d(features, 2).flatten(1), logits


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def load_classifier(name: str | Path = "digit-classifier") -> SmallClassifier:
    """A trained classifier by its folder or name, in eval mode.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    saved = open_model(name)
    config = saved.config
    network = SmallClassifier(config["channels"], len(config["class_names"]), config["width"])
    saved.fill(network)
    return network


@torch.no_grad()
def judge(classifier: SmallClassifier, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, D) and most likely classes (N,) of images in [-1, 1], a batch at a time."""
    parts = [classifier.describe(batch) for batch in _batches(images)]
    return torch.cat([features for features, _ in parts]), torch.cat([logits for _, logits in parts]).argmax(
        1
    )


def _batches(images: torch.Tensor) -> Iterator[torch.Tensor]:
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))
