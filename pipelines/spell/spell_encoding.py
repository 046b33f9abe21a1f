"""Images into a model's own sample space: the VAE's mean, shifted and scaled as its pipelines do it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import interpolate

from .spell_errors import ReferencesError

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
PREPROCESSING = "upright, shorter side resized (lanczos), centre crop, range -1 to 1"


class ImageEncoder:
    """Encodes images, and views of them, as references.

    Args:
        vae: the model's own; None for a model of pixels.
        resolution: of the encoder's input, an int for squares or (height, width).
        channels: of the images; by default the VAE's, or 3.
        views: of each image, as `view_names` gives them.
        packed: whether the model's samples are packed latents, as those of FLUX are.
    """

    def __init__(
        self,
        vae: Any | None,
        resolution: int | tuple[int, int],
        channels: int | None = None,
        views: Sequence[str] = ("whole",),
        packed: bool = False,
    ) -> None:
        from diffusers.image_processor import VaeImageProcessor

        self.vae = vae
        self.resolution = (resolution, resolution) if isinstance(resolution, int) else tuple(resolution)
        self.channels = channels or (3 if vae is None else int(vae.config.get("in_channels", 3)))
        if self.channels not in (1, 3):
            raise ReferencesError(
                f"images have 1 or 3 channels, not {self.channels}; encode them yourself and pass latents="
            )
        self.views, self.packed = tuple(views), packed
        self._processor = VaeImageProcessor(
            vae_scale_factor=1, do_convert_rgb=self.channels == 3, do_convert_grayscale=self.channels == 1
        )

    @torch.no_grad()
    def encode(self, images: Sequence[Any]) -> torch.Tensor:
        """References of some images, those of one image side by side.

        Args:
            images: paths, PIL images, or tensors (C, H, W) in [-1, 1] of the right size.

        Returns:
            Shape (len(images) * views, *sample shape), float32, on the CPU.

        Raises:
            ReferencesError: a tensor of another size, or a VAE whose latents cannot be derived or packed.
        """
        pixels = torch.stack([view for image in images for view in self._views(self.pixels(image))])
        if self.vae is None:
            return pixels
        latents = vae_latents(self.vae, pixels).float().cpu()
        return pack_latents(latents) if self.packed else latents

    def pixels(self, image: Any) -> torch.Tensor:
        """One image as the encoder's input: shape (C, H, W), in [-1, 1]."""
        if isinstance(image, torch.Tensor):
            if tuple(image.shape) != (self.channels, *self.resolution):
                raise ReferencesError(
                    f"an image tensor of shape {tuple(image.shape)} where {(self.channels, *self.resolution)} is "
                    "expected; resize it, pass PIL images, or say latents= if these are latents"
                )
            return image.detach().float().cpu()
        from diffusers.utils import load_image

        opened = load_image(str(image) if hasattr(image, "__fspath__") else image)
        return self._processor.preprocess(opened, *self.resolution, resize_mode="crop")[0]

    def _views(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        return [make_view(pixels, view) for view in self.views]


def view_names(flip: bool, crops: Sequence[float]) -> tuple[str, ...]:
    """Names of the views: the whole image and its centre crops, each also flipped if `flip`.

    Raises:
        ReferencesError: a crop that takes away nothing or half a side.
    """
    for crop in crops:
        if not 0 < crop < 0.5:
            raise ReferencesError(f"a crop takes away between 0 and 0.5 of each side, not {crop}")
    kept = ["whole", *(f"crop {crop:g}" for crop in sorted(set(crops)))]
    return tuple(name for view in kept for name in ([view, f"{view} flip"] if flip else [view]))


def make_view(pixels: torch.Tensor, name: str) -> torch.Tensor:
    """A view of pixels (C, H, W) by its name, of the same shape."""
    words = name.split()
    if words[0] == "crop":
        height, width = pixels.shape[-2:]
        kept = (max(1, round(height * (1 - float(words[1])))), max(1, round(width * (1 - float(words[1])))))
        top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
        cropped = pixels[None, :, top : top + kept[0], left : left + kept[1]]
        whole = interpolate(cropped, (height, width), mode="bicubic", antialias=True, align_corners=False)
        pixels = whole[0].clamp(-1, 1)
    return pixels.flip(-1) if words[-1] == "flip" else pixels


def vae_latents(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The mean of a VAE's posterior, normalised as its pipelines hand it to the network.

    Args:
        vae: of diffusers, with 4-dimensional input.
        pixels: shape (B, C, H, W), in [-1, 1].

    Raises:
        ReferencesError: it has batch statistics of its own (FLUX.2) or is a video VAE.
    """
    encoded = vae.encode(pixels.to(vae.device, vae.dtype))
    if hasattr(encoded, "latent_dist"):
        latents = encoded.latent_dist.mode()
    else:
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent
    if latents.ndim != 4 or hasattr(vae, "bn"):
        raise ReferencesError(
            f"{type(vae).__name__} normalises its latents in its own way; encode the images as its pipeline does "
            "and pass latents="
        )
    latents = latents.float()
    mean, std = vae.config.get("latents_mean"), vae.config.get("latents_std")
    if mean is not None and std is not None:
        channel = (1, -1, 1, 1)
        latents = latents - torch.tensor(mean, device=latents.device).view(channel)
        latents = latents / torch.tensor(std, device=latents.device).view(channel)
    return (latents - (vae.config.get("shift_factor") or 0.0)) * (vae.config.get("scaling_factor") or 1.0)


def pack_latents(latents: torch.Tensor) -> torch.Tensor:
    """Latents (B, C, H, W) as the sequence of their 2x2 patches, (B, H/2 * W/2, 4 C): the samples of FLUX.

    Raises:
        ReferencesError: a side is odd.
    """
    batch, channels, height, width = latents.shape
    if height % 2 or width % 2:
        raise ReferencesError(
            f"latents of {height}x{width} cannot be packed, both sides must be even; choose another resolution="
        )
    patches = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(batch, height // 2 * (width // 2), 4 * channels)


def weights_sha256(vae: Any) -> dict[str, str]:
    """Hash of a VAE's weights and scales, as they are and, for float32, as they would be in half precision.

    So a set encoded in float32 is recognised by the same VAE loaded in float16 or bfloat16, and the reverse.
    """
    own = next((p.dtype for p in vae.parameters() if p.dtype in _FLOATS), torch.float32)
    return {
        str(dtype).removeprefix("torch."): _sha256(vae, dtype)
        for dtype in (_FLOATS if own == torch.float32 else (own,))
    }


def same_weights(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether two results of `weights_sha256` come from one VAE; float16 against bfloat16 cannot be told: no."""
    shared = one.keys() & other.keys()
    return one == other or (bool(shared) and all(one[dtype] == other[dtype] for dtype in shared))


def _sha256(vae: Any, dtype: torch.dtype) -> str:
    factors = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")
    digest = hashlib.sha256(repr([vae.config.get(factor) for factor in factors]).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        value = tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach()
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
