"""Two loops compiled by numba, where it is installed; without it PyTorch gives the same results, slower."""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from numba import njit
except ImportError:  # optional
    njit = None

LANES = 64  # references side by side in a tile


def _deeper_levels(
    row: int,
    query: int,
    dot: float,
    second: np.ndarray,
    steps: np.ndarray,
    deep: np.ndarray,
    splits: np.ndarray,
    weights: np.ndarray,
    query_rest: np.ndarray,
    query_half: np.ndarray,
    thresholds: np.ndarray,
    reach: float,
) -> float:
    """Bound of a pair by the last level, given its product at the first; infinite where a level excludes it."""
    bound = np.float64(0)
    for level in range(1, len(splits)):
        more = np.float32(0)
        own = weights[query, splits[level - 1] : splits[level]]
        if level == 1:
            theirs = second[row]
            for d in range(len(own)):  # from 0: compiled without a test for negative indices
                more += own[d] * np.float32(theirs[d])
        else:
            theirs = steps[row, splits[level - 1] : splits[level]]
            for d in range(len(own)):
                more += own[d] * np.float32(theirs[d])
        dot += more
        half, rest, wrong = deep[row, level - 1, 0], deep[row, level - 1, 1], deep[row, level - 1, 2]
        score = dot + query_rest[level, query] * rest - half + wrong * (reach + np.float32(0.5) * wrong)
        if score < thresholds[level, query]:
            bound = np.inf
            break
        if level == len(splits) - 1:
            product = np.float64(dot) + np.float64(query_rest[level, query]) * np.float64(rest)
            squared = 2 * (query_half[level, query] + np.float64(half) - product)
            bound = np.sqrt(max(squared, 0.0)) - wrong
    return bound


def _scan(
    tiles: np.ndarray,
    second: np.ndarray,
    steps: np.ndarray,
    first: np.ndarray,
    deep: np.ndarray,
    splits: np.ndarray,
    weights: np.ndarray,
    query_rest: np.ndarray,
    query_half: np.ndarray,
    thresholds: np.ndarray,
    radius: np.ndarray,
    start_tile: int,
    stop_tile: int,
    found_query: np.ndarray,
    found_row: np.ndarray,
    found_bound: np.ndarray,
) -> int:
    """Pairs in some tiles that no level can exclude; see `spell_int8` for the test, `Index` for shapes."""
    width = tiles.shape[1]
    values = np.empty((width, LANES), np.float32)
    dots = np.empty(LANES, np.float32)
    scores = np.empty(LANES, np.float32)
    count = 0
    for tile in range(start_tile, stop_tile):
        start = tile * LANES
        for d in range(width):
            for lane in range(LANES):
                values[d, lane] = np.float32(tiles[tile, d, lane])
        for query in range(weights.shape[0]):
            for lane in range(LANES):
                dots[lane] = np.float32(0)
            for d in range(0, width, 8):  # weights beyond the first level meet zeros
                w0, w1 = weights[query, d], weights[query, d + 1]
                w2, w3 = weights[query, d + 2], weights[query, d + 3]
                w4, w5 = weights[query, d + 4], weights[query, d + 5]
                w6, w7 = weights[query, d + 6], weights[query, d + 7]
                for lane in range(LANES):
                    dots[lane] += (
                        w0 * values[d, lane]
                        + w1 * values[d + 1, lane]
                        + w2 * values[d + 2, lane]
                        + w3 * values[d + 3, lane]
                        + w4 * values[d + 4, lane]
                        + w5 * values[d + 5, lane]
                        + w6 * values[d + 6, lane]
                        + w7 * values[d + 7, lane]
                    )
            reach, own_rest, threshold = radius[query], query_rest[0, query], thresholds[0, query]
            possible = 0
            for lane in range(LANES):
                wrong = first[2, start + lane]
                scores[lane] = (
                    dots[lane]
                    + own_rest * first[1, start + lane]
                    - first[0, start + lane]
                    + wrong * (reach + np.float32(0.5) * wrong)
                )
                possible += not scores[lane] < threshold
            if not possible:
                continue
            for lane in range(LANES):
                if scores[lane] < threshold:
                    continue
                row = start + lane
                bound = deeper_levels(
                    row,
                    query,
                    dots[lane],
                    second,
                    steps,
                    deep,
                    splits,
                    weights,
                    query_rest,
                    query_half,
                    thresholds,
                    reach,
                )
                if bound < np.inf:
                    found_query[count], found_row[count], found_bound[count] = query, row, bound
                    count += 1
    return count


def _refine(
    query: np.ndarray,
    row: np.ndarray,
    second: np.ndarray,
    steps: np.ndarray,
    deep: np.ndarray,
    splits: np.ndarray,
    weights: np.ndarray,
    query_rest: np.ndarray,
    query_half: np.ndarray,
    thresholds: np.ndarray,
    radius: np.ndarray,
    bounds: np.ndarray,
) -> None:
    """Bounds of given pairs, infinite where a level excludes one."""
    for pair in range(len(query)):
        q, r = query[pair], row[pair]
        dot = np.float32(0)
        for d in range(splits[0]):
            dot += weights[q, d] * np.float32(steps[r, d])
        bounds[pair] = deeper_levels(
            r, q, dot, second, steps, deep, splits, weights, query_rest, query_half, thresholds, radius[q]
        )


def _squares(
    queries: np.ndarray, rows: np.ndarray, query: np.ndarray, row: np.ndarray, out: np.ndarray
) -> None:
    """Squared distances of pairs, float64 sums of float64 differences of rows (float32 bits of fp16 values)."""
    for pair in range(len(query)):
        total = 0.0
        for d in range(queries.shape[1]):
            off = queries[query[pair], d] - np.float64(rows[row[pair], d])
            total += off * off
        out[pair] = total


def _compiled(function: Any, inline: str = "never") -> Any:
    # Sums may be regrouped and fused: the error bounds hold in any order.
    return (
        None
        if njit is None
        else njit(nogil=True, fastmath={"contract", "reassoc", "nsz"}, inline=inline)(function)
    )


deeper_levels = _compiled(_deeper_levels, inline="always")
scan_tiles = _compiled(_scan)
refine_pairs = _compiled(_refine)
pair_squares = _compiled(_squares)
