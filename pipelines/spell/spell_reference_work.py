"""What goes into new shards: the items, their names, and how one becomes references."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from .spell_encoding import PREPROCESSING, ImageEncoder, same_weights, weights_sha256
from .spell_errors import ReferencesError
from .spell_reference_manifest import Origin

_LATENT_BYTES = 1 << 26  # appended at once; each append waits for the disk


class Work(NamedTuple):
    """What goes into new shards.

    Attributes:
        origin: of the references.
        items: the images, or the latents.
        names: one for each item, or None for their numbers.
        encode: some items to float rows (items * views, *sample shape).
        batch: items that are encoded at once.
        first_item: number of items that the set has already.
        first_shard: number of shards that the set has already.
    """

    origin: Origin
    items: Any
    names: Sequence[str] | None
    encode: Callable[[Any], torch.Tensor]
    batch: int
    first_item: int = 0
    first_shard: int = 0

    def name(self, item: int) -> str:
        """The name of an item."""
        return str(self.names[item]) if self.names is not None else str(self.first_item + item)


def plan_work(
    images: Any | None,
    latents: Any | None,
    *,
    vae: Any | None,
    resolution: int | tuple[int, int] | None,
    channels: int | None,
    names: Sequence[str] | None,
    views: tuple[str, ...],
    packed: bool,
    batch_size: int,
) -> Work:
    """The work of `ReferenceSet.build`, whose arguments these are.

    Raises:
        ReferencesError: both or neither of images and latents, none of them, no resolution, repeated names, or
            something to pack that is no image for a VAE.
    """
    items = images if latents is None else latents
    if items is None or (images is not None and latents is not None):
        raise ReferencesError("pass either images or latents=")
    if len(items) == 0:
        raise ReferencesError("no reference given: an empty set protects nothing")
    _require_names(names, len(items))
    if packed and (latents is not None or vae is None):
        raise ReferencesError("packed= is for images and a VAE; latents are protected as they are")
    if latents is not None:
        if len(views) > 1:
            raise ReferencesError("flip and crops are made from images; latents are protected as they are")
        shape = tuple(latents[:1].shape[1:])
        if not shape:
            raise ReferencesError("latents need the shape (N, *sample shape)")
        weights = weights_sha256(vae) if vae is not None else {}
        model = "given latents" if vae is None else type(vae).__name__
        size = (resolution, resolution) if isinstance(resolution, int) else resolution
        origin = Origin(model, weights, shape, size, "given latents")
        batch = max(1, _LATENT_BYTES // (2 * math.prod(shape)))
        return Work(origin, latents, names, _as_tensor, batch)
    first = images[0]
    if isinstance(first, torch.Tensor):
        resolution = resolution or (int(first.shape[-2]), int(first.shape[-1]))
        channels = channels or int(first.shape[0])
    if resolution is None:
        raise ReferencesError(
            "say resolution=, the size that the model generates, such as 512 or (height, width)"
        )
    encoder = ImageEncoder(vae, resolution, channels, views, packed)
    origin = Origin(
        "pixels" if vae is None else type(vae).__name__,
        {} if vae is None else weights_sha256(vae),
        tuple(encoder.encode([first]).shape[1:]),
        encoder.resolution,
        f"{PREPROCESSING}, {encoder.channels} channels",
        views,
    )
    return Work(origin, images, names, encoder.encode, batch_size)


def require_origin(
    where: Any, origin: Origin, vae: Any | None, resolution: int | tuple[int, int] | None
) -> None:
    """Raise unless references of some origin are what this VAE makes, at this resolution where one is given.

    Raises:
        ReferencesError: names both.
    """
    size = (resolution, resolution) if isinstance(resolution, int) else resolution
    wanted = replace(
        origin,
        model="pixels" if vae is None else type(vae).__name__,
        weights={} if vae is None else weights_sha256(vae),
        resolution=size or origin.resolution,
    )
    other_model = origin.model != "given latents" and (
        wanted.model != origin.model or not same_weights(wanted.weights, origin.weights)
    )
    if other_model or (origin.resolution is not None and wanted.resolution != origin.resolution):
        raise ReferencesError(
            f"{where}: made for {origin.told()}, not for {wanted.told()}; distances between them mean nothing. "
            "Encode the images again: ReferenceSet.build(images, folder=..., vae=pipe.vae, resolution=...)"
        )


def _as_tensor(latents: Any) -> torch.Tensor:
    return latents if isinstance(latents, torch.Tensor) else torch.from_numpy(np.asarray(latents))


def _require_names(names: Sequence[str] | None, count: int) -> None:
    if names is None:
        return
    if len(names) != count:
        raise ReferencesError(f"{len(names)} names for {count} items; give one for each")
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise ReferencesError(f"repeated names: {', '.join(map(str, repeated[:5]))}; each item needs its own")
