"""CIFAR-10 from the archive of JPEG files in HUB_MODELS_DATA."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..errors import ImageSourceError
from ..paths import data_dir
from .labelled_images import LabelledImages

ARCHIVE = "cifar10_jpeg.tar.gz"
CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def load_cifar10(split: str) -> LabelledImages:
    """All images of one split, shape (N, 3, 32, 32), in a shuffled, fixed order.

    Args:
        split: ``train`` (50,000) or ``test`` (10,000).

    Raises:
        ImageSourceError: HUB_MODELS_DATA names no folder that holds the archive.
    """
    folder = data_dir()
    if folder is None or not (folder / ARCHIVE).is_file():
        raise ImageSourceError(
            f"CIFAR-10 is read from {ARCHIVE}; set HUB_MODELS_DATA to the folder that holds it"
        )
    pixels, labels = _read(folder / ARCHIVE, split)
    order = np.random.default_rng(0).permutation(len(labels))
    return LabelledImages(torch.from_numpy(pixels[order]), torch.from_numpy(labels[order]), CLASS_NAMES)


def _read(archive: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = Path(member.name).parts
            if member.isfile() and parts[0] == split and parts[-1].endswith(".jpg"):
                file = tar.extractfile(member)
                assert file is not None
                with Image.open(file) as image:
                    images.append(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
                labels.append(CLASS_NAMES.index(parts[1]))
    if not images:
        raise ImageSourceError(f"{archive}: no {split}/<class>/*.jpg in it; get the archive again")
    return np.stack(images), np.array(labels, dtype=np.int64)
