"""What a shield keeps away from and how hard, and its state through one generation."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .spell_errors import SpellError, SpellWarning
from .spell_memory import MemoryReferences
from .spell_prediction import Position
from .spell_protected import Protected
from .spell_repellency import Push, batch_pairs, first_equal, repel
from .spell_union import smallest_exit

_ROUNDS = 24
_CLIPPED_ROUNDS = 4


@dataclass(frozen=True)
class Shield:
    """Settings of a shield.

    Attributes:
        references: what to keep away from, or None.
        radius: of the ball around each reference, image of the batch and remembered image.
        overcompensation: factor of the push; 1 lands on the sphere of a single ball, 1.6 is the paper's advice.
        strength: share of the push that is applied, in (0, 1]; below 1 images may end inside.
        start, stop: the shield acts at shares of the schedule in [start, stop), 0 <= start < stop <= 1.
        intra_batch: keep the images of a batch apart.
        groups: of each image of the batch, say its prompt; only images of one group are kept apart.
        remember: keep away from the finished images of earlier batches too.
        seed: of the direction where an image equals a reference.
        pixels: samples are images in [-1, 1], which are clipped and rounded to 8 bits when saved.
    """

    references: Protected | None
    radius: float
    overcompensation: float = 1.6
    strength: float = 1.0
    start: float = 0.0
    stop: float = 1.0
    intra_batch: bool = False
    groups: tuple[int, ...] | None = None
    remember: bool = False
    seed: int = 0
    pixels: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.radius) and self.radius > 0):
            raise SpellError(f"radius must be positive and finite, not {self.radius!r}")
        if not (math.isfinite(self.overcompensation) and self.overcompensation >= 1):
            raise SpellError(
                f"overcompensation must be finite and at least 1, not {self.overcompensation!r}; "
                "strength makes the push weaker"
            )
        if not 0 < self.strength <= 1:
            raise SpellError(f"strength must lie in (0, 1], not {self.strength!r}")
        if not 0 <= self.start < self.stop <= 1:
            raise SpellError(
                f"start and stop are shares of the schedule, 0 <= start < stop <= 1, not {self.start}, {self.stop}"
            )

    @property
    def gain(self) -> float:
        """Factor of the push."""
        return self.overcompensation * self.strength

    @property
    def final(self) -> bool:
        """Whether the shield holds to the end, so that finished images must lie outside every ball."""
        return self.stop == 1 and self.strength == 1


class ShieldRun:
    """One generation under a shield.

    Args:
        shield: the settings.
        remembered: finished images of earlier batches, or None.
    """

    def __init__(self, shield: Shield, remembered: MemoryReferences | None) -> None:
        self.shield = shield
        protected = [p for p in (remembered, shield.references) if p is not None]
        self._searches = [p.search() for p in protected]  # what is protected has the last word
        self._warned = False

    def active(self, where: Position) -> bool:
        """Whether the shield acts on this evaluation of the network."""
        return self.shield.start <= where.index / where.total < self.shield.stop

    def push(self, images: torch.Tensor, bound: float | None = None) -> Push:
        """How far expected clean images (B, D) are moved: apart from each other, then out of the shield.

        Args:
            images: shape (B, D), float32.
            bound: the scheduler clips images to [-bound, bound]; they are moved within.
        """
        moved = images.double()
        balls = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        if self.shield.intra_batch:
            apart = self._apart(images)
            moved, balls = moved + apart.displacement, balls + apart.balls
        for _ in range(1 if bound is None else _CLIPPED_ROUNDS):  # clipping may pull an image back in
            out = self._out(moved.to(images.dtype))
            moved, balls = moved + out.displacement, torch.maximum(balls, out.balls)
            moved = moved if bound is None else moved.clamp(-bound, bound)
            if not out.balls.any():
                break
        return Push(moved - images.double(), balls)

    def _out(self, images: torch.Tensor) -> Push:
        """Out of the balls of what is remembered, then of what is protected."""
        shield, moved = self.shield, images
        total = Push(
            torch.zeros_like(images, dtype=torch.float64), torch.zeros(len(images), dtype=torch.int64)
        )
        for search in self._searches:
            pairs = search.within(moved, shield.radius)
            leave = shield.gain >= 1
            push = repel(moved, pairs, shield.radius, shield.gain, seed=shield.seed, leave=leave)
            total = Push(total.displacement + push.displacement, total.balls.to(push.balls) + push.balls)
            moved = (images.double() + total.displacement).to(images.dtype)
        return total

    def leave(self, samples: torch.Tensor) -> torch.Tensor:
        """Finished samples (B, D), those inside the shield moved to just outside all its balls.

        Distances are those of the samples as stored, after rounding to their type; of a model of pixels, as the
        saved image has them.
        """
        if not self._searches:
            return samples
        radius, result, margin = self.shield.radius, samples, 1e-5
        found: dict[int, list[torch.Tensor]] = {}
        for _ in range(_ROUNDS):
            inside: set[int] = set()
            seen = [result.float(), as_saved(result)] if self.shield.pixels else [result.float()]
            for search, samples_seen in itertools.product(self._searches, seen):
                for some in search.within(samples_seen, radius):
                    strictly = some.distance < radius
                    for image, row in zip(some.query[strictly].tolist(), some.rows[strictly], strict=True):
                        inside.add(image)
                        found.setdefault(image, []).append(row.double())
            if not inside:
                return result
            result = result.clone() if result is samples else result
            for image in inside:
                rows = torch.stack(found[image]).unique(dim=0)
                out = self._outside(samples[image].double(), rows, radius * (1 + margin))
                result[image] = out.to(samples.dtype)
            margin *= 2  # against the rounding of the samples
        warnings.warn(
            f"images {sorted(inside)} of the batch are still inside the shield: its balls leave no room nearby; "
            "use a smaller radius or fewer references",
            SpellWarning,
            stacklevel=2,
        )
        return result

    def _outside(self, sample: torch.Tensor, rows: torch.Tensor, radius: float) -> torch.Tensor:
        """A point near a sample (D,) outside the balls around rows (M, D), within [-1, 1] if these are pixels."""
        if not self.shield.pixels:
            return sample + smallest_exit(sample - rows, radius, self.shield.seed)
        out = sample.clamp(-1, 1)
        for _ in range(_ROUNDS):
            if float((out - rows).norm(dim=1).min()) >= radius:
                break
            out = (out + smallest_exit(out - rows, radius, self.shield.seed)).clamp(-1, 1)
        return out

    def _apart(self, images: torch.Tensor) -> Push:
        """The push between images of the batch; images that are equal (doubled guidance, seeds) move as one."""
        shield, first = self.shield, first_equal(images)
        chosen = sorted(set(first))
        self._warn_of_equal_images(first, chosen)
        pairs = batch_pairs(images, chosen, self._groups(len(images)), shield.radius)
        push = repel(images, pairs, shield.radius, shield.gain, seed=shield.seed)
        return Push(push.displacement[first], push.balls[first])

    def _groups(self, batch: int) -> Sequence[int]:
        groups = self.shield.groups
        if groups is None:
            return [0] * batch
        if batch not in (len(groups), 2 * len(groups)):  # guidance may double the batch
            raise SpellError(f"groups names {len(groups)} images, but the batch has {batch}")
        return groups * (batch // len(groups))

    def _warn_of_equal_images(self, first: list[int], chosen: list[int]) -> None:
        half = len(first) // 2
        different = half if len(first) > 1 and first[half:] == first[:half] else len(first)
        if self._warned or (len(chosen) == different and different > 1):
            return
        self._warned = True
        text = (
            "intra_batch keeps the images of a batch apart, but this batch has one; ask for several at once, or "
            "pass remember=True to keep away from earlier batches"
            if different == 1
            else "images of the batch that start from equal noise stay equal; give them different seeds"
        )
        warnings.warn(text, SpellWarning, stacklevel=2)


def as_saved(images: torch.Tensor) -> torch.Tensor:
    """Images in [-1, 1] as they are once saved with 8 bits a channel."""
    return ((images.float() / 2 + 0.5).clamp(0, 1) * 255).round() * (2 / 255) - 1
