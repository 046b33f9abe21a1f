"""What a radius means for a set: how much of the space it covers, and which copies of an image it catches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from .spell_encoding import ImageEncoder, make_view
from .spell_errors import ReferencesError
from .spell_references import ReferenceSet

_QUERIES = 64  # references that stand for generated images
_IMAGES = 40  # images whose copies are measured


class Copy(NamedTuple):
    """One kind of edit.

    Attributes:
        name: such as "JPEG 75" or "crop 10 %".
        median: of the distances of images to their edited copies, in the space of the references.
        caught: share of the copies that lie within the radius.
    """

    name: str
    median: float
    caught: float


class RadiusMeaning(NamedTuple):
    """What a radius means.

    Attributes:
        radius: of the balls.
        typical_distance: median distance of two references.
        rho: radius / typical_distance; above about 0.45 searches slow down and shields stop being sparse.
        active: predicted number of references whose ball holds one expected clean image, (early, late): at the mean
            of the references, where every generation begins, and at an image like a reference (itself left out).
        copies: what counts as a copy, empty where no image was given.
    """

    radius: float
    typical_distance: float
    rho: float
    active: tuple[float, float]
    copies: tuple[Copy, ...]

    def __str__(self) -> str:
        early, late = self.active
        lines = [
            f"radius {self.radius:.4g}: {self.rho:.2f} of the median distance of two references "
            f"({self.typical_distance:.4g})",
            f"predicted references that act on one image: {early:,.0f} in the first step, {late:,.2g} in the last",
        ]
        if self.rho > 0.45:
            lines.append(
                "a radius above 0.45 of it shields much of the space: expect slow searches and worse images"
            )
        for copy in self.copies:
            lines.append(
                f"  {copy.name}: {100 * copy.caught:.0f} % caught (median distance {copy.median:.4g})"
            )
        missed = [copy.name for copy in self.copies if copy.caught < 0.5]
        if missed:
            lines.append(
                f"most copies by {', '.join(missed)} lie outside; build the set with flip=True and crops= against "
                "geometric edits instead of a larger radius"
            )
        return "\n".join(lines)


def describe_radius(
    references: ReferenceSet,
    radius: float,
    images: Sequence[Any] | None = None,
    vae: Any | None = None,
) -> RadiusMeaning:
    """What a radius means for a set, and for copies of the user's own images.

    Args:
        references: the set.
        radius: of the balls.
        images: some images, as `ReferenceSet.build` takes them; the first 40 are used.
        vae: the one the set was made with, where images are given.

    Raises:
        ReferencesError: a radius that is not positive, a VAE other than the set's, or images for a set of latents
            whose preprocessing is unknown.
    """
    if not radius > 0:
        raise ReferencesError(f"a radius is a positive number, not {radius}")
    typical = references.typical_distance()
    active = _active(references, radius)
    copies = () if images is None else _copies(references, radius, images[:_IMAGES], vae)
    return RadiusMeaning(radius, typical, radius / typical, active, copies)


def _active(references: ReferenceSet, radius: float) -> tuple[float, float]:
    """Mean number of references inside, at the mean of a sample and at its members, by distances within it."""
    live = references.live()
    sample = references.rows(live[:: max(1, len(live) // 2048)][:2048]).flatten(1).double()
    share = len(live) / len(sample)
    early = ((sample - sample.mean(0)).norm(dim=1) <= radius).sum().item() * share
    some = sample[:: max(1, len(sample) // _QUERIES)][:_QUERIES]
    within = sum(int(((sample - each).norm(dim=1) <= radius).sum()) - 1 for each in some)
    return early, within / len(some) * share


def _copies(
    references: ReferenceSet, radius: float, images: Sequence[Any], vae: Any | None
) -> tuple[Copy, ...]:
    origin = references.origin
    if origin.resolution is None or origin.preprocessing == "given latents":
        raise ReferencesError(
            f"{references.folder}: made of given latents; build it from images to measure copies of images"
        )
    references.require_made_for(vae)
    channels = None if vae is not None else references.sample_shape[0]
    encoder = ImageEncoder(vae, origin.resolution, channels)
    pixels = [encoder.pixels(image) for image in images]
    whole = torch.cat([encoder.encode([each]) for each in pixels]).flatten(1).double()
    result = []
    for name, edit in EDITS.items():
        edited = torch.cat([encoder.encode([edit(each)]) for each in pixels]).flatten(1).double()
        distance = (edited - whole).norm(dim=1)
        result.append(Copy(name, float(distance.median()), float((distance <= radius).double().mean())))
    return tuple(result)


def _jpeg(pixels: torch.Tensor, quality: int) -> torch.Tensor:
    import io

    from PIL import Image

    levels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(0, -1).numpy()
    buffer = io.BytesIO()
    Image.fromarray(levels.squeeze(-1) if levels.shape[-1] == 1 else levels).save(
        buffer, "JPEG", quality=quality
    )
    read = torch.from_numpy(np.array(Image.open(buffer)))
    return (read if read.ndim == 3 else read[..., None]).movedim(-1, 0).float() / 127.5 - 1


def _shift(pixels: torch.Tensor, by: int) -> torch.Tensor:
    """To the right; the edge is repeated."""
    columns = (torch.arange(pixels.shape[-1]) - by).clamp_min(0)
    return pixels[..., columns]


EDITS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "JPEG 75": lambda pixels: _jpeg(pixels, 75),
    "JPEG 30": lambda pixels: _jpeg(pixels, 30),
    "shift by 1 pixel": lambda pixels: _shift(pixels, 1),
    "shift by 4 pixels": lambda pixels: _shift(pixels, 4),
    "crop 3 %": lambda pixels: make_view(pixels, "crop 0.03"),
    "crop 10 %": lambda pixels: make_view(pixels, "crop 0.1"),
    "flip": lambda pixels: make_view(pixels, "whole flip"),
}
