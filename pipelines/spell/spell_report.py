"""After a generation: does the shield hold, for the samples and for the images that they decode to?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from .spell_attachment import attached, is_shielded
from .spell_encoding import vae_latents
from .spell_errors import SpellError
from .spell_shield import as_saved


@dataclass(frozen=True)
class ImageReport:
    """One image.

    Attributes:
        nearest: number of the protected reference nearest to the finished sample.
        name: of that reference, where the set knows names.
        distance: to it, exact.
        inside: whether the finished sample lies within the radius of any reference.
        decoded_distance: from the nearest reference to the image, decoded, saved with 8 bits and encoded again;
            None where the pipeline cannot do that.
        decoded_inside: the same as `inside` for that image.
        active_steps: on how many evaluations of the network the shield moved it.
        strongest: the largest change of the network's output, as a share of its length.
        projected: how far it was moved after the last step.
    """

    nearest: int
    name: str | None
    distance: float
    inside: bool
    decoded_distance: float | None
    decoded_inside: bool | None
    active_steps: int
    strongest: float
    projected: float


@dataclass(frozen=True)
class ShieldReport:
    """All images of one generation, the radius, and the number of evaluations of the network."""

    radius: float
    evaluations: int
    images: tuple[ImageReport, ...]

    @property
    def holds(self) -> bool:
        """Whether every finished sample, and every decoded image that was measured, lies outside the shield."""
        return not any(image.inside or image.decoded_inside for image in self.images)

    def __str__(self) -> str:
        lines = [
            f"radius {self.radius:g}: {sum(i.inside for i in self.images)} of {len(self.images)} samples inside, "
            f"{sum(bool(i.decoded_inside) for i in self.images)} after decoding",
            "image  nearest  distance  decoded  acted on  change  projected",
        ]
        for number, image in enumerate(self.images):
            decoded = "-" if image.decoded_distance is None else f"{image.decoded_distance:.3f}"
            lines.append(
                f"{number:5d}  {image.name or image.nearest!s:>7}  {image.distance:8.3f}  {decoded:>7}  "
                f"{image.active_steps:3d} of {self.evaluations}  {image.strongest:6.1%}  {image.projected:9.3f}"
            )
        return "\n".join(lines)


def report(target: Any, size: tuple[int, int] | None = None) -> ShieldReport:
    """What the shield did in the last generation of a pipeline, and where its images ended up.

    Args:
        target: the pipeline or scheduler that the shield is on, or a pipeline that was called with one.
        size: height and width of the images, for packed latents (FLUX) that are not square.

    Raises:
        SpellError: there is no shield, no references in it, or no finished generation.
    """
    called_with = getattr(target, "spell", None)
    attachment = called_with if called_with is not None and not is_shielded(target) else attached(target)
    references, record = attachment.shield.references, attachment.record
    if references is None:
        raise SpellError("this shield protects no references; its record says how images were kept apart")
    if record.final is None or record.projected is None:
        raise SpellError("no generation has finished under this shield")
    count = _without_doubled_half(record.final)
    samples, radius = record.final[:count], attachment.shield.radius
    nearest, distance = references.nearest(samples.flatten(1))
    again = encoded_again(target, samples, size, pixels=attachment.shield.pixels)
    decoded = [None] * count if again is None else references.nearest(again.flatten(1))[1].tolist()
    name = getattr(references, "name", None)
    images = tuple(
        ImageReport(
            nearest=int(nearest[i]),
            name=None if name is None else " ".join(name(int(nearest[i]))),
            distance=float(distance[i]),
            inside=bool(distance[i] < radius),
            decoded_distance=decoded[i],
            decoded_inside=None if decoded[i] is None else decoded[i] < radius,
            active_steps=int(record.active_steps[i]),
            strongest=float(record.strongest[i]),
            projected=float(record.projected[i]),
        )
        for i in range(count)
    )
    return ShieldReport(radius, len(record.steps), images)


@torch.no_grad()
def encoded_again(
    pipe: Any, samples: torch.Tensor, size: tuple[int, int] | None = None, *, pixels: bool = False
) -> torch.Tensor | None:
    """Samples decoded, saved with 8 bits and encoded again; None where the pipeline has no VAE.

    Args:
        pipe: the pipeline.
        samples: in the model's sample space, shape (B, *sample shape).
        size: height and width of the images, for packed latents that are not square.
        pixels: whether the samples are images themselves.
    """
    if pixels:
        return as_saved(samples)
    vae = getattr(pipe, "vae", None)
    if vae is None:
        return None
    with _upcast(vae):
        return torch.cat([_again(pipe, vae, sample[None], size) for sample in samples])


def _again(pipe: Any, vae: Any, sample: torch.Tensor, size: tuple[int, int] | None) -> torch.Tensor:
    packed = sample.ndim == 3 and hasattr(pipe, "_unpack_latents")
    if packed:
        side = math.isqrt(sample.shape[1]) * 2 * pipe.vae_scale_factor
        height, width = size or (side, side)
        sample = pipe._unpack_latents(sample, height, width, pipe.vae_scale_factor)
    images = as_saved(decoded(vae, sample))
    latents = vae_latents(vae, images).float().cpu()
    return pipe._pack_latents(latents, *latents.shape) if packed else latents


def decoded(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Images of latents, undoing the normalisation of `vae_latents`: shape (B, C, H, W), about [-1, 1], float32."""
    latents = latents.to(vae.device, torch.float32)
    latents = latents / (vae.config.get("scaling_factor") or 1.0) + (vae.config.get("shift_factor") or 0.0)
    mean, std = vae.config.get("latents_mean"), vae.config.get("latents_std")
    if mean is not None and std is not None:
        channel = (1, -1, 1, 1)
        latents = latents * latents.new_tensor(std).view(channel) + latents.new_tensor(mean).view(channel)
    return vae.decode(latents.to(vae.dtype)).sample.float()


@contextmanager
def _upcast(vae: Any) -> Iterator[None]:
    """SDXL's VAE overflows float16 and says so in its configuration."""
    dtype = vae.dtype
    upcast = dtype == torch.float16 and vae.config.get("force_upcast")
    if upcast:
        vae.to(torch.float32)
    try:
        yield
    finally:
        if upcast:
            vae.to(dtype)


def _without_doubled_half(samples: torch.Tensor) -> int:
    """Number of images: DiT hands the scheduler each of them twice, for guidance."""
    half, odd = divmod(len(samples), 2)
    return half if half and not odd and torch.equal(samples[:half], samples[half:]) else len(samples)
