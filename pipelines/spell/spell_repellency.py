"""Sparse repellency: expected clean images pushed out of the balls that they are in.

Kirchhof et al., "Shielded Diffusion" (arXiv 2410.06025): delta = sum_k relu(r / d_k - 1) (x0 - z_k), computed here
as sum_k (r - d_k) * unit(x0 - z_k) from exact differences. Where several balls hold an image, its length is kept
to what leaves them all: near-copies among the references must not multiply the push.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch

from .spell_memory import exact_distance
from .spell_protected import InsidePairs
from .spell_union import ray_exit, smallest_exit

_KEPT = 1 << 25  # elements of the active references that are kept for the exact way out
_MARGIN = 1e-5  # of the radius: how far outside a projection lands


class Push(NamedTuple):
    """How far each image is moved.

    Attributes:
        displacement: shape (B, D), float64; zero for an image outside every ball.
        balls: number of balls that hold each image, shape (B,), int64.
    """

    displacement: torch.Tensor
    balls: torch.Tensor


def repel(
    images: torch.Tensor,
    pairs: Iterable[InsidePairs],
    radius: float,
    gain: float,
    *,
    seed: int = 0,
    leave: bool = False,
) -> Push:
    """The push out of the balls around the references of `pairs`.

    Args:
        images: expected clean images, shape (B, D).
        pairs: which images are inside which balls.
        radius: of the balls.
        gain: factor of the push (over-compensation times strength); 1 lands on the sphere of a single ball.
        seed: for the direction of an image that equals a reference.
        leave: whether an image that the push leaves inside one of these balls (they push into each other) takes
            the smallest way out instead; needs gain >= 1.
    """
    total = torch.zeros(images.shape, dtype=torch.float64, device=images.device)
    balls = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    kept: list[InsidePairs] | None = []
    size = 0
    for some in pairs:
        away = images[some.query].double() - some.rows.double()
        unit = away / some.distance.clamp_min(torch.finfo(torch.float64).tiny)[:, None]
        for i in (some.distance == 0).nonzero().flatten().tolist():
            sign = 1 if some.query[i] < some.reference[i] else -1  # two equal images part
            unit[i] = sign * _seeded_direction(some.rows[i], seed)
        total.index_add_(0, some.query, (radius - some.distance)[:, None] * unit)
        balls.index_add_(0, some.query, (some.distance < radius).long())
        size += some.rows.numel()
        kept = [*kept, some] if kept is not None and size <= _KEPT else None
    for image in balls.nonzero().flatten().tolist():
        offsets = None if kept is None else _offsets(images[image], image, kept)
        total[image] = _push(total[image], offsets, radius, gain, seed, leave)
    return Push(total, balls)


def _push(
    total: torch.Tensor, offsets: torch.Tensor | None, radius: float, gain: float, seed: int, leave: bool
) -> torch.Tensor:
    length = float(total.norm())
    direction = total / max(length, torch.finfo(torch.float64).tiny)
    reach = 2 * radius if offsets is None else ray_exit(offsets, direction, radius)
    push = gain * min(length, reach) * direction
    if leave and offsets is not None and float((offsets + push).norm(dim=1).min()) < radius:
        return smallest_exit(offsets, radius * (1 + _MARGIN), seed)
    return push


def _offsets(point: torch.Tensor, image: int, pairs: list[InsidePairs]) -> torch.Tensor:
    rows = torch.cat([some.rows[some.query == image] for some in pairs])
    return point.double() - rows.double()


def _seeded_direction(row: torch.Tensor, seed: int) -> torch.Tensor:
    """A unit direction that depends on the reference and the seed alone."""
    content = zlib.crc32(row.detach().cpu().numpy().tobytes())
    noise = torch.randn(
        row.shape, generator=torch.Generator().manual_seed(content ^ seed), dtype=torch.float64
    )
    return (noise / noise.norm()).to(row.device)


def batch_pairs(
    images: torch.Tensor, chosen: Sequence[int], groups: Sequence[int], radius: float
) -> Iterator[InsidePairs]:
    """Pairs of different images of one batch and group that lie within the radius, one image at a time.

    Args:
        images: expected clean images, shape (B, D).
        chosen: indices of the images to compare, each different image once.
        groups: the group of each image of the batch.
        radius: of the balls around the images.
    """
    for image in chosen:
        others = [other for other in chosen if other != image and groups[other] == groups[image]]
        if not others:
            continue
        index = torch.tensor(others, device=images.device)
        distance = torch.cat([exact_distance(images[image][None], images[i : i + 1]) for i in others])
        inside = distance < radius
        if inside.any():
            reference = index[inside]
            yield InsidePairs(
                torch.full_like(reference, image), reference, images[reference], distance[inside]
            )


def first_equal(samples: torch.Tensor) -> list[int]:
    """For each sample (B, D) the index of the first that equals it: doubled guidance halves and equal seeds."""
    starts = samples[:, :16].tolist()
    first: list[int] = []
    for i, start in enumerate(starts):
        same = (j for j in range(i) if first[j] == j and starts[j] == start)
        first.append(next((j for j in same if torch.equal(samples[i], samples[j])), i))
    return first
