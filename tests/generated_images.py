"""Images that tests draw themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def draw_image(seed: int, side: int = 48) -> Image.Image:
    """Smooth coloured noise, different for each seed."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side + seed % 7, side), Image.Resampling.BICUBIC)


def write_images(folder: Path, count: int, classes: tuple[str, ...] = ("",), first: int = 0) -> Path:
    """``count`` PNG files for each class, below a folder of its name."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            draw_image(first + number * count + i).save(folder / name / f"{i:04d}.png")
    return folder
