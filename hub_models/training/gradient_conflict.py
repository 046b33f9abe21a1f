"""Joint training of a classifier and a loss predictor, with or without the stop-gradient between them.

Pretrained Visual Uncertainties (section 3) finds that the two tasks pull the backbone apart: without the
stop-gradient accuracy falls and the loss predictor stalls. `fit_head` cannot show that, since it never trains
a backbone; this module can, for `benchmarks/gradient_conflict.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..image_features import classify
from ..uncertainty_head import UncertaintyHead
from .fit import warm_up_then_cosine
from .losses import squared_loss

BATCH = 128
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
CROP_MARGIN = 4


class JointModel(nn.Module):
    """A timm backbone with its classifier, and an uncertainty head on the same pre-logits.

    Args:
        stop_gradient: the head sees detached pre-logits, so that it cannot change the backbone.
    """

    def __init__(self, backbone: nn.Module, stop_gradient: bool) -> None:
        super().__init__()
        self.backbone, self.stop_gradient = backbone, stop_gradient
        self.head = UncertaintyHead(backbone.num_features)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> logits (B, C) and the predicted task loss (B,) in nats."""
        final = self.backbone.forward_features(pixels)  # type: ignore[operator]
        pooled = self.backbone.forward_head(final, pre_logits=True)  # type: ignore[operator]
        seen = pooled.detach() if self.stop_gradient else pooled
        return classify(self.backbone, pooled), self.head(seen)


def joint_loss(logits: Tensor, predicted: Tensor, labels: Tensor, weight: float) -> Tensor:
    """Mean cross-entropy + ``weight`` x squared error of the predicted cross-entropy (detached), a scalar."""
    task = nn.functional.cross_entropy(logits, labels, reduction="none")
    return task.mean() + weight * squared_loss(predicted, task.detach())


def train_jointly(
    model: JointModel, images: Tensor, labels: Tensor, weight: float, epochs: int, seed: int
) -> Iterator[int]:
    """Train from scratch, and hand the model out after each epoch, in eval mode.

    AdamW, linear warm-up, cosine to 0; shifted and mirrored images.

    Args:
        images: (N, 3, H, W) uint8.
        labels: (N,) int64.
        weight: of the loss predictor's squared error.
        seed: of order and augmentation.

    Yields:
        The number of epochs done.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    padded = nn.functional.pad(images, [CROP_MARGIN] * 4)
    batches = len(images) // BATCH
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(images), generator=generator)[: batches * BATCH].view(batches, BATCH)
        for batch, rows in enumerate(order):
            factor = warm_up_then_cosine(epoch * batches + batch, epochs * batches)
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * factor
            logits, predicted = model(normalise(_shifted_and_mirrored(padded, rows, generator)))
            optimiser.zero_grad(set_to_none=True)
            joint_loss(logits, predicted, labels[rows], weight).backward()
            optimiser.step()
        model.eval()
        yield epoch + 1


@torch.inference_mode()
def predict(model: JointModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted classes (N,) and predicted losses (N,) of uint8 images (N, 3, H, W)."""
    outputs = [model(normalise(batch)) for batch in images.split(BATCH)]
    logits, predicted = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    return logits.argmax(dim=1), predicted


def normalise(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> float in [-1, 1], channels last."""
    return (images / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _shifted_and_mirrored(padded: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Windows of the original size at random places of the padded images, half of them mirrored."""
    height, width = (side - 2 * CROP_MARGIN for side in padded.shape[2:])
    top, left = torch.randint(2 * CROP_MARGIN + 1, (2, len(rows), 1), generator=generator)
    across = torch.arange(width).repeat(len(rows), 1)
    mirrored = torch.rand(len(rows), generator=generator) < 0.5
    across[mirrored] = across[mirrored].flip(1)
    y, x = top + torch.arange(height), left + across
    channels = torch.arange(padded.shape[1])[None, :, None, None]
    return padded[rows[:, None, None, None], channels, y[:, None, :, None], x[:, None, None, :]]
