"""Flow matching with a small class-conditional U-Net (Lipman et al., arXiv 2210.02747; Liu et al., 2209.03003)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .recipe import NetworkRecipe

if TYPE_CHECKING:
    from diffusers import UNet2DModel

TIMESTEPS = 1000


def new_network(recipe: NetworkRecipe, channels: int, size: int, classes: int) -> UNet2DModel:
    """A network with random weights: (B, channels, size, size), noise level times 1000, label -> velocity.

    Label ``classes``, the last of ``classes + 1``, stands for no class.
    """
    from diffusers import UNet2DModel

    kinds = ["Attn" if place in recipe.attention else "" for place in range(len(recipe.channels))]
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=recipe.layers,
        block_out_channels=tuple(recipe.channels),
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        attention_head_dim=_head_width(recipe),
        norm_num_groups=8,
        dropout=recipe.dropout,
        num_class_embeds=classes + 1,
    )


def _head_width(recipe: NetworkRecipe) -> int:
    """The wider of 32 and 8 that divides the channels of every attention layer; the middle block has one, too."""
    attended = [recipe.channels[-1], *(recipe.channels[place] for place in recipe.attention)]
    return 8 if any(channels % 32 for channels in attended) else 32


def flow_loss(
    network: UNet2DModel, images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Mean squared error of the velocity noise - image at (1 - s) image + s noise.

    The noise levels s of a batch are spread evenly over [0, 1], each uniform in its stratum, which makes the loss
    less noisy than independent ones.

    Args:
        images: shape (B, C, H, W), in [-1, 1].
        labels: shape (B,).
        generator: on the CPU, whatever the device of the images.
    """
    count = len(images)
    noise = torch.randn(images.shape, generator=generator).to(images)
    level = ((torch.rand(count, generator=generator) + torch.arange(count)) / count).to(images)
    level = level.view(-1, 1, 1, 1)
    mixed = (1 - level) * images + level * noise
    velocity = network(mixed, level.flatten() * TIMESTEPS, class_labels=labels).sample
    return (velocity.float() - (noise - images)).square().mean()


@torch.no_grad()
def update_average(average: torch.nn.Module, network: torch.nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the current ones; early steps average over fewer."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
