"""R@1 and R-AUROC of the URL benchmark (Kirchhof et al., NeurIPS 2023), mAP@R of Musgrave et al. (ECCV 2020)."""

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


def average_precision_at_r(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) for each item with R others of its label: mean over its R nearest of their precision where they fit.

    With i from 1 to R, (1/R) sum of [i-th nearest has the label] times the share of the first i that have it.
    NaN where no other item has the label.
    """
    unit = np.asarray(embeddings, dtype=np.float32)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    labels = np.asarray(labels)
    _, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    others = sizes[group] - 1
    depth = int(others.max())
    precision = np.full(len(unit), np.nan)
    if not depth:
        return precision
    places = np.arange(1, depth + 1)
    for start in range(0, len(unit), CHUNK):
        block = unit[start : start + CHUNK] @ unit.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -np.inf
        nearest = np.argpartition(-block, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(block, nearest, axis=1), axis=1, kind="stable")
        nearest = np.take_along_axis(nearest, order, axis=1)
        wanted = others[start : start + CHUNK, None]
        right = (labels[nearest] == labels[start : start + CHUNK, None]) & (places <= wanted)
        at_each = np.where(right, right.cumsum(axis=1) / places, 0)
        some = wanted[:, 0] > 0
        precision[start : start + CHUNK][some] = at_each[some].sum(axis=1) / wanted[some, 0]
    return precision
