"""Images that tests draw themselves."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
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


class WatchedSource:
    """A thousand images drawn when they are read, which notes how much memory the process has used so far."""

    labels = class_names = None

    def __init__(self) -> None:
        self.names = [f"{i}.png" for i in range(1000)]
        self.peaks: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def read_bytes(self, index: int) -> bytes:
        self.peaks[index] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        buffer = io.BytesIO()
        draw_image(index % 50).save(buffer, "PNG")
        return buffer.getvalue()


WATCH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from generated_images import WatchedSource
from transformers import CLIPImageProcessor
from hub_models import zoo

source = WatchedSource()
model = zoo.load(Path(sys.argv[2]))
processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
exec(sys.argv[3])
print("grew by", source.peaks[999] - source.peaks[199])
"""


def memory_growth(checkpoint: Path, statement: str) -> int:
    """kB by which memory grows between the 200th and the 1000th image of ``source``.

    Args:
        statement: code that reads ``source`` with ``model`` and ``processor``, in a process of its own.
    """
    command = [sys.executable, "-c", WATCH, str(Path(__file__).parent), str(checkpoint), statement]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout.split("grew by")[1])
