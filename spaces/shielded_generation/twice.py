"""One noise, made into an image without and with a shield, whatever the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hub_models.spell import attach_spell, detach_spell
from hub_models.spell.spell_attachment import put_on
from hub_models.spell.spell_memory import MemoryReferences
from hub_models.spell.spell_shield import Shield

Progress = Callable[[float, str], None]
#: Generates with a ``callback_on_step_end``, and gives the picture.
Make = Callable[[Callable[..., dict[str, Any]]], np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """One generated image and the protected image nearest to it.

    Attributes:
        image, nearest: shape (H, W) or (H, W, 3), uint8.
        nearest_name: of the protected image.
        distance: between the two, in the model's sample space.
    """

    image: np.ndarray
    nearest: np.ndarray
    nearest_name: str
    distance: float


@dataclass(frozen=True)
class Comparison:
    """The same noise with and without the shield.

    Attributes:
        asked: what the image should show, in words.
        protected: how many images the shield protects.
        acted: on which steps the shield moved the image.
        strongest: largest change of the network's output, as a share of its length.
    """

    asked: str
    seed: int
    radius: float
    protected: int
    plain: Outcome
    shielded: Outcome
    acted: tuple[bool, ...]
    strongest: float


@dataclass(frozen=True)
class Protection:
    """What is protected.

    Attributes:
        samples: shape (N, *sample shape), float32, in the model's sample space.
        names: of the N images.
        picture: one of them, by its number, to be shown.
    """

    samples: torch.Tensor
    names: Sequence[str]
    picture: Callable[[int], np.ndarray]


def compare(
    pipe: Any,
    make: Make,
    protection: Protection,
    radius: float,
    steps: int,
    progress: Progress,
    *,
    asked: str,
    seed: int,
) -> Comparison:
    """One image, plain and shielded.

    Args:
        pipe: a pipeline that no one else uses meanwhile.
        make: generates one image with it, always from the same noise.
        steps: how many the pipeline takes, for the progress.

    Raises:
        SpellError: the radius is out of its range, or the model cannot be shielded.
    """
    references = MemoryReferences(protection.samples)
    attach_spell(pipe, references, radius)  # refuses a bad radius before any work
    detach_spell(pipe)
    with put_on(pipe, Shield(None, radius)) as watcher:
        plain = make(told(progress, "without the shield", 0.0, steps))
    with attach_spell(pipe, references, radius) as attachment:
        shielded = make(told(progress, "with the shield", 0.5, steps))
    record = attachment.record
    samples = torch.cat([watcher.record.final[:1], record.final[:1]])
    index, distance = references.nearest(samples.flatten(1))
    outcomes = [
        Outcome(image, protection.picture(number), protection.names[number], away)
        for image, number, away in zip((plain, shielded), index.tolist(), distance.tolist(), strict=True)
    ]
    return Comparison(
        asked=asked,
        seed=seed,
        radius=radius,
        protected=len(protection.names),
        plain=outcomes[0],
        shielded=outcomes[1],
        acted=tuple(bool(step.balls[0] > 0) for step in record.steps),
        strongest=float(record.strongest[0]),
    )


def told(progress: Progress, words: str, start: float, steps: int) -> Callable[..., dict[str, Any]]:
    """A ``callback_on_step_end`` that tells of half the work, from `start` on."""

    def tell(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        progress(start + 0.5 * min(1.0, (step + 1) / steps), words)
        return tensors

    return tell
