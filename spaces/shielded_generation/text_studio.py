"""A text-to-image model of diffusers, such as Stable Diffusion, with and without a shield around uploaded images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from twice import Comparison, Progress, Protection, compare

from hub_models.errors import CheckpointError
from hub_models.image_reading import read_image
from hub_models.spell.spell_encoding import ImageEncoder

MODEL = "HUB_MODELS_TEXT_TO_IMAGE"  # environment variable
STEPS = 25
MAX_UPLOADS = 12
USUAL_RHO = 0.3


class TextStudio:
    """Generates images of a prompt; holds nothing of any visitor.

    Args:
        model: folder or Hub id of a text-to-image pipeline of diffusers with a VAE; runs on a GPU where there is one.

    Raises:
        CheckpointError: it cannot be had, or is another kind of pipeline.
    """

    def __init__(self, model: str) -> None:
        self.name = model
        self._shared = _load(model)
        side = getattr(self._shared, "default_sample_size", None) or _network(self._shared).config.sample_size
        self.side = side * self._shared.vae_scale_factor
        packed = hasattr(self._shared, "_pack_latents")
        self._encoder = ImageEncoder(self._shared.vae, self.side, packed=packed)
        grey = torch.zeros(self._encoder.channels, self.side, self.side)
        elements = self._encoder.encode([grey]).numel()
        #: About how far two images lie apart: latents have unit variance.
        self.typical_distance = math.sqrt(2 * elements)

    @property
    def usual_radius(self) -> float:
        """Catches near-copies, and leaves room between images."""
        return round(USUAL_RHO * self.typical_distance, 1)

    def uploaded(self, paths: Sequence[str | Path]) -> Protection:
        """Uploaded images as the model's latents.

        Raises:
            ImageReadError: a file is no image that can be used.
            ValueError: no or too many files.
        """
        if not 0 < len(paths) <= MAX_UPLOADS:
            raise ValueError(f"{len(paths)} pictures; upload between 1 and {MAX_UPLOADS} to protect")
        pixels = [self._encoder.pixels(read_image(path)) for path in paths]
        names = [Path(path).name for path in paths]
        return Protection(self._encoder.encode(pixels), names, lambda number: _picture(pixels[number]))

    def compare(
        self, prompt: str, seed: int, protection: Protection, radius: float, progress: Progress
    ) -> Comparison:
        """One image of a prompt from one noise, plain and shielded.

        Raises:
            ValueError: no prompt.
            SpellError: the radius is out of its range, or the model cannot be shielded.
        """
        if not prompt.strip():
            raise ValueError("say what the image should show")
        # A pipeline of its own for each request, sharing the weights: visitors never meet in one scheduler.
        pipe = type(self._shared).from_pipe(self._shared)
        pipe.set_progress_bar_config(disable=True)

        def make(tell: Callable[..., Any]) -> np.ndarray:
            noise = torch.Generator().manual_seed(seed)
            call = {"height": self.side, "width": self.side, "callback_on_step_end": tell}
            image = pipe(prompt, generator=noise, num_inference_steps=STEPS, **call).images[0]
            return np.asarray(image.convert("RGB"))

        return compare(pipe, make, protection, radius, STEPS, progress, asked=prompt, seed=seed)


def _load(model: str) -> Any:
    from diffusers import DiffusionPipeline

    gpu = torch.cuda.is_available()
    try:
        pipe = DiffusionPipeline.from_pretrained(model, dtype=torch.float16 if gpu else torch.float32)
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"{MODEL}={model}: its weights cannot be had ({reason}); give the folder or Hub id of a text-to-image "
            "pipeline of diffusers, and download it first where there is no network"
        ) from error
    if getattr(pipe, "vae", None) is None or not hasattr(pipe, "encode_prompt"):
        raise CheckpointError(
            f"{MODEL}={model}: a {type(pipe).__name__}, not a text-to-image pipeline with a VAE; choose another model"
        )
    return pipe.to("cuda" if gpu else "cpu")


def _network(pipe: Any) -> Any:
    return getattr(pipe, "unet", None) or pipe.transformer


def _picture(pixels: torch.Tensor) -> np.ndarray:
    """Pixels (3, H, W) in [-1, 1] as a picture (H, W, 3), uint8."""
    return ((pixels.movedim(0, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
