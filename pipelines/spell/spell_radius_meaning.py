"""What a radius means for references: how much of the space it covers, and which copies of an image it catches."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from .spell_encoding import ImageEncoder, make_view
from .spell_errors import ReferencesError
from .spell_memory import MemoryReferences
from .spell_references import ReferenceSet

WIDE = 0.45  # of the typical distance: searches slow down, and shields stop being sparse
_SPREAD = 2048  # references that stand for all of them
_QUERIES = 64  # references that stand for generated images
_IMAGES = 20  # images whose copies are measured


class Copy(NamedTuple):
    """One kind of edit.

    Attributes:
        name: such as "JPEG 75" or "crop 10 %".
        median: of the distances of edited images to the nearest reference of their original.
        caught: share of the edited images that lie within the radius.
    """

    name: str
    median: float
    caught: float


class RadiusMeaning(NamedTuple):
    """What a radius means.

    Attributes:
        radius: of the balls.
        typical_distance: median distance of two references; nan where there is only one.
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
        lines = [f"radius {self.radius:.4g}"]
        if math.isfinite(self.rho):
            lines[0] += f": rho {self.rho:.2f}, its share of the median distance of two references"
            lines[0] += f" ({self.typical_distance:.4g})"
        lines.append(
            f"predicted references that act on one image: {early:,.0f} in the first step, {late:,.2g} in the last"
        )
        if self.rho > WIDE:
            lines.append(f"rho above {WIDE} shields much of the space: expect slow searches and worse images")
        if not self.copies:
            lines.append("which copies it catches was not measured: that needs some of the protected images")
        for each in self.copies:
            lines.append(
                f"  {each.name}: {100 * each.caught:.0f} % caught (median distance {each.median:.4g})"
            )
        missed = [each.name for each in self.copies if each.caught < 0.5]
        if missed:
            lines.append(f"most copies by {', '.join(missed)} lie outside")
        if any(name.startswith(("crop", "flip")) for name in missed):
            lines.append(
                "against crops and flips build the set with flip=True and crops=, not with a larger radius"
            )
        return "\n".join(lines)


def describe_radius(
    references: torch.Tensor | MemoryReferences | ReferenceSet,
    radius: float,
    images: Sequence[Any] | None = None,
    vae: Any | None = None,
) -> RadiusMeaning:
    """What a radius means for references, and for copies of the user's own images.

    Args:
        references: shape (N, *sample shape), in the model's own sample space; or a set.
        radius: of the balls.
        images: some of the protected images, as `ReferenceSet.build` takes them; the first 20 are used. By default
            those that a set made for a model of pixels holds itself.
        vae: the one the set was made with, where images are given.

    Raises:
        ReferencesError: a radius that is not positive, a VAE other than the set's, or images for latents whose
            preprocessing is unknown.
    """
    if not radius > 0:
        raise ReferencesError(f"a radius is a positive number, not {radius}")
    if isinstance(references, torch.Tensor):
        references = MemoryReferences(references)
    if images is None and isinstance(references, ReferenceSet) and references.origin.model == "pixels":
        images = _own_images(references)
    typical = references.typical_distance()
    copies = () if images is None else _copies(_encoder(references, vae), radius, images[:_IMAGES])
    return RadiusMeaning(radius, typical, radius / typical, _active(references, radius), copies)


def _active(references: MemoryReferences | ReferenceSet, radius: float) -> tuple[float, float]:
    """Mean number of references inside, at the mean of a sample and at its members, by distances within it."""
    sample = _spread(references).double()
    share = len(references) / len(sample)
    early = ((sample - sample.mean(0)).norm(dim=1) <= radius).sum().item() * share
    some = sample[:: max(1, len(sample) // _QUERIES)][:_QUERIES]
    within = sum(int(((sample - each).norm(dim=1) <= radius).sum()) - 1 for each in some)
    return early, within / len(some) * share


def _spread(references: MemoryReferences | ReferenceSet) -> torch.Tensor:
    """Evenly chosen references, shape (at most 2048, D)."""
    step = max(1, len(references) // _SPREAD)
    if isinstance(references, MemoryReferences):
        return references.rows[::step][:_SPREAD].cpu()
    return references.rows(references.live()[::step][:_SPREAD]).flatten(1)


def _own_images(references: ReferenceSet) -> torch.Tensor:
    """Some unchanged images of a set that holds images, shape (at most 20, C, H, W)."""
    live = references.live()
    whole = live[live % len(references.origin.views) == 0]  # an image's first view
    return references.rows(whole[:: max(1, len(whole) // _IMAGES)][:_IMAGES])


def _encoder(references: MemoryReferences | ReferenceSet, vae: Any | None) -> ImageEncoder:
    """What made an image into its references, or would have."""
    shape = references.sample_shape
    if isinstance(references, MemoryReferences):
        if vae is not None or len(shape) != 3:
            raise ReferencesError(
                "copies of images are measured on a set: ReferenceSet.build(images, folder=..., vae=pipe.vae)"
            )
        return ImageEncoder(None, (shape[1], shape[2]), shape[0])
    origin = references.origin
    if origin.resolution is None or origin.preprocessing == "given latents":
        raise ReferencesError(
            f"{references.folder}: made of given latents; build it from images to measure copies of images"
        )
    references.require_made_for(vae)
    channels = None if vae is not None else shape[0]
    return ImageEncoder(vae, origin.resolution, channels, origin.views, packed=len(shape) == 2)


def _copies(encoder: ImageEncoder, radius: float, images: Sequence[Any]) -> tuple[Copy, ...]:
    pixels = [encoder.pixels(image) for image in images]
    protected = [_rows(encoder.encode([each])) for each in pixels]
    seen = copy.copy(encoder)
    seen.views = ("whole",)
    result = []
    for name, edit in EDITS.items():
        distance = torch.stack(
            [
                (_rows(seen.encode([edit(each)])) - views).norm(dim=1).min()
                for each, views in zip(pixels, protected, strict=True)
            ]
        )
        result.append(Copy(name, float(distance.median()), float((distance <= radius).double().mean())))
    return tuple(result)


def _rows(encoded: torch.Tensor) -> torch.Tensor:
    return encoded.flatten(1).double()


def _jpeg(pixels: torch.Tensor, quality: int) -> torch.Tensor:
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
