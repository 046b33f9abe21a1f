"""The small generators of digits with and without a shield: what the page asks, and what it is told."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from twice import Comparison, Progress, Protection, compare, told

from hub_models.generation.checkpoints import load_pipeline
from hub_models.generation.digits import load_digits
from hub_models.image_reading import read_image
from hub_models.spell import attach_spell
from hub_models.spell.spell_memory import MemoryReferences

#: Name on the page -> checkpoint, and how many of the training digits it was trained on.
MODELS = {
    "Learnt 64 digits by heart": ("digits-flow-memorised", 64),
    "Trained on 4,000 digits": ("digits-flow", 4000),
}
STEPS = 20
MAX_UPLOADS = 12
SIDE, INK = 32, 20  # pixels of an image, and of the longer side of the digit in it


class Studio:
    """Generates digits; holds nothing of any visitor."""

    def __init__(self) -> None:
        self.digits = load_digits("train")
        self.classes = self.digits.class_names

    def training(self, model: str, digit: str | None = None) -> Protection:
        """The images a model was trained on, all or those of one digit."""
        chosen = range(MODELS[model][1])
        if digit is not None:
            chosen = [i for i in chosen if int(self.digits.labels[i]) == int(digit)]
        names = [f"training digit {i}" for i in chosen]
        return _protection(self.digits.samples(torch.tensor(list(chosen))), names)

    def uploaded(self, paths: Sequence[str | Path]) -> Protection:
        """Uploaded images as white on black, 32x32 pixels.

        Raises:
            ImageReadError: a file is no image that can be used.
            ValueError: too many files.
        """
        if len(paths) > MAX_UPLOADS:
            raise ValueError(f"{len(paths)} files; at most {MAX_UPLOADS} at once")
        samples = [as_sample(read_image(path)) for path in paths]
        return _protection(torch.stack(samples), [Path(path).name for path in paths])

    def drawn(self, image: Image.Image | None) -> Protection:
        """A drawing, dark on white or on nothing, as white on black, as large and centred as digits are.

        Raises:
            ValueError: nothing is drawn.
        """
        return _protection(as_digit(image)[None], ["my drawing"])

    def compare(
        self,
        model: str,
        digit: str,
        seed: int,
        protection: Protection,
        radius: float,
        progress: Progress = lambda share, words: None,
    ) -> Comparison:
        """One image of a digit from one noise, plain and shielded.

        Raises:
            SpellError: the radius is out of its range.
        """
        pipe = self._pipe(model)

        def make(tell: Callable[..., Any]) -> np.ndarray:
            return as_pixels(self._samples(pipe, [digit], [seed], tell)[0])

        return compare(pipe, make, protection, radius, STEPS, progress, asked=f"digit {digit}", seed=seed)

    def diversity(
        self, model: str, digit: str, seed: int, radius: float, count: int, progress: Progress
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """A batch of one digit, plain and with its images kept apart from each other."""
        pipe = self._pipe(model)
        seeds = [seed + i for i in range(count)]

        def run(words: str, start: float) -> list[np.ndarray]:
            tell = told(progress, words, start, STEPS)
            return [as_pixels(sample) for sample in self._samples(pipe, [digit] * count, seeds, tell)]

        plain = run("as the model makes them", 0.0)
        attach_spell(pipe, intra_batch=True, radius=radius)
        return plain, run("kept apart", 0.5)

    def usual_radius(self, model: str) -> float:
        """A radius that holds 5 % of unseen real digits: what is nearer than that is a copy."""
        return _nearest_quantile(MODELS[model][1])

    @staticmethod
    def _samples(pipe: Any, labels: list[str], seeds: list[int], tell: Callable[..., Any]) -> torch.Tensor:
        noises = [torch.Generator().manual_seed(seed) for seed in seeds]
        call = {"num_inference_steps": STEPS, "output_type": "latent", "callback_on_step_end": tell}
        return pipe(labels, generator=noises, **call).images

    @staticmethod
    def _pipe(model: str) -> Any:
        """A pipeline of its own for each request, sharing the weights: visitors never meet in one scheduler."""
        shared = _loaded(MODELS[model][0])
        pipe = type(shared).from_pipe(shared)
        pipe.set_progress_bar_config(disable=True)
        return pipe


@functools.cache
def _loaded(checkpoint: str) -> Any:
    return load_pipeline(checkpoint)


@functools.cache
def _nearest_quantile(count: int, quantile: float = 0.05) -> float:
    protected = MemoryReferences(load_digits("train").samples()[:count])
    distances = protected.nearest(load_digits("test").samples()[:300].flatten(1))[1]
    return round(float(distances.quantile(quantile)), 1)


def as_sample(image: Image.Image) -> torch.Tensor:
    """A picture as the model sees digits: shape (1, 32, 32), bright strokes on black, in [-1, 1]."""
    grey = ImageOps.pad(image.convert("L"), (SIDE, SIDE), Image.Resampling.LANCZOS, color=_edge(image))
    pixels = torch.from_numpy(np.asarray(grey, dtype=np.float32)) / 127.5 - 1
    return (-pixels if pixels.mean() > 0 else pixels)[None]


def as_digit(image: Image.Image | None) -> torch.Tensor:
    """A drawing as the model sees digits, shape (1, 32, 32), in [-1, 1]: centred by its mass, as those of MNIST.

    Raises:
        ValueError: nothing is drawn.
    """
    sheet = Image.new("RGBA", (1, 1) if image is None else image.size, "white")
    if image is not None:
        sheet.alpha_composite(image.convert("RGBA"))
    ink = ImageOps.invert(sheet.convert("L"))
    box = ink.point(lambda level: 255 * (level > 32)).getbbox()
    if box is None:
        raise ValueError("draw a digit first, or choose the training digits")
    digit = ImageOps.contain(ink.crop(box), (INK, INK), Image.Resampling.LANCZOS)
    levels = np.asarray(digit, dtype=np.float32)
    down, right = (
        round(SIDE / 2 - float(place.sum() / levels.sum()))
        for place in (np.arange(0.5, len(levels))[:, None] * levels, np.arange(0.5, levels.shape[1]) * levels)
    )
    whole = Image.new("L", (SIDE, SIDE))
    whole.paste(digit, (right, down))
    return (torch.from_numpy(np.asarray(whole, dtype=np.float32)) / 127.5 - 1)[None]


def as_pixels(sample: torch.Tensor) -> np.ndarray:
    """A sample (1, H, W) as a grey picture (H, W), uint8."""
    return ((sample[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()


def _protection(samples: torch.Tensor, names: Sequence[str]) -> Protection:
    return Protection(samples, names, lambda number: as_pixels(samples[number]))


def _edge(image: Image.Image) -> int:
    """What to pad with: the brightness of the corner."""
    return int(image.convert("L").getpixel((0, 0)))  # type: ignore[arg-type]
