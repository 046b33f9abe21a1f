"""R@1 and R-AUROC of the URL benchmark (Kirchhof et al., NeurIPS 2023)."""

from __future__ import annotations

import numpy as np

CHUNK = 1024


def nearest_other(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each item's nearest other item by cosine similarity: indices (N,) and similarities (N,).

    The item itself is excluded by index, not by dropping the best hit: with duplicates these differ.
    """
    unit = np.asarray(embeddings, dtype=np.float32)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    indices = np.empty(len(unit), dtype=np.int64)
    similarities = np.empty(len(unit), dtype=np.float32)
    for start in range(0, len(unit), CHUNK):
        block = unit[start : start + CHUNK] @ unit.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -np.inf
        indices[start : start + CHUNK] = block.argmax(axis=1)
        similarities[start : start + CHUNK] = block.max(axis=1)
    return indices, similarities


def found_other_class(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) True where the nearest other item has another label.

    R@1 is 1 - its mean; R-AUROC is the AUROC of an uncertainty against it.
    """
    nearest, _ = nearest_other(embeddings)
    labels = np.asarray(labels)
    return labels[nearest] != labels
