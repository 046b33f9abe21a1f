"""Many samples of a generator, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..progress import progress_bar

if TYPE_CHECKING:
    from ..spell.spell_class_conditional import SpellClassConditionalPipeline


SPACING = 1_000_003  # between the noises of two seeds; torch keeps only the low 32 bits of what it is given


def generate(
    pipe: SpellClassConditionalPipeline,
    labels: Sequence[int],
    seed: int,
    *,
    steps: int = 20,
    guidance_scale: float = 1.0,
    batch_size: int = 50,
    show_progress: bool = False,
) -> torch.Tensor:
    """Samples as the network makes them, about [-1, 1], shape (N, C, H, W), on the CPU.

    Each sample has a noise of its own, by the seed and its place, so it is the same in every batch size.

    Args:
        labels: class of each sample.
        batch_size: samples in one call of the pipeline; with intra-batch repellency these are one group.
    """
    pipe.set_progress_bar_config(disable=True)
    made = []
    with progress_bar("generating", len(labels), "samples", show_progress) as advance:
        for start in range(0, len(labels), batch_size):
            part = labels[start : start + batch_size]
            noises = [torch.Generator().manual_seed(seed * SPACING + start + i) for i in range(len(part))]
            made.append(
                pipe(
                    part,
                    generator=noises,
                    num_inference_steps=steps,
                    guidance_scale=guidance_scale,
                    output_type="latent",
                ).images.cpu()
            )
            advance(len(part))
    return torch.cat(made)
