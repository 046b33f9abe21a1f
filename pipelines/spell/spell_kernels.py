"""Loops compiled by numba, where it is installed; without it PyTorch gives the same results, slower.

References stand side by side in tiles: the dot products of a tile with a query fill one vector register.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .spell_int8 import LANES

try:
    from numba import njit

    from .spell_vectors import add_product, filled, not_below, put, vector
except ImportError:  # optional
    njit = None

BLOCK = 4  # queries that share a look at a tile

_pread = ctypes.CDLL(None).pread
_pread.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int64]  # addresses as numbers
_pread.restype = ctypes.c_ssize_t


def _final_bound(
    dot: float, half: float, rest: float, wrong: float, query_rest: float, query_half: float
) -> float:
    """What a distance is not below; see `spell_int8`."""
    product = np.float64(dot) + np.float64(query_rest) * np.float64(rest)
    squared = 2 * (query_half + np.float64(half) - product)
    return np.sqrt(max(squared, 0.0)) - wrong


def _deeper_levels(
    place: int,
    query: int,
    dot: float,
    rows: np.ndarray,
    outer: np.ndarray,
    deep: np.ndarray,
    splits: np.ndarray,
    weights: np.ndarray,
    query_rest: np.ndarray,
    query_half: np.ndarray,
    thresholds: np.ndarray,
    reach: float,
) -> float:
    """Bound of a pair by the last level, given its product at the last level of the tiles; infinite if excluded."""
    tiled = outer.shape[0]
    half, rest, wrong = outer[tiled - 1, 0, place], outer[tiled - 1, 1, place], outer[tiled - 1, 2, place]
    for level in range(tiled, len(splits)):
        own = weights[query, splits[level - 1] : splits[level]]
        theirs = rows[place, splits[level - 1] - splits[tiled - 1] : splits[level] - splits[tiled - 1]]
        more = np.float32(0)
        for d in range(len(own)):  # from 0: compiled without a test for negative indices
            more += own[d] * np.float32(theirs[d])
        dot += more
        half, rest, wrong = (
            deep[place, level - tiled, 0],
            deep[place, level - tiled, 1],
            deep[place, level - tiled, 2],
        )
        score = dot + query_rest[level, query] * rest - half + wrong * (reach + np.float32(0.5) * wrong)
        if score < thresholds[level, query]:
            return np.inf
    last = len(splits) - 1
    return final_bound(dot, half, rest, wrong, query_rest[last, query], query_half[last, query])


def _add_products(
    tiles: np.ndarray, tile: int, weights: np.ndarray, query: int, first: int, dots: np.ndarray
) -> None:
    """Add products of a tile with a block of queries, whose weights for it begin at `first`, to (BLOCK, LANES)."""
    a0, b0 = vector(dots, (0, 0)), filled(np.float32(0))  # two sums each: one would wait for itself
    a1, b1 = vector(dots, (1, 0)), filled(np.float32(0))
    a2, b2 = vector(dots, (2, 0)), filled(np.float32(0))
    a3, b3 = vector(dots, (3, 0)), filled(np.float32(0))
    for d in range(0, tiles.shape[1], 2):
        even, odd = vector(tiles, (tile, d, 0)), vector(tiles, (tile, d + 1, 0))
        w = first + d
        a0, b0 = add_product(a0, weights[query, w], even), add_product(b0, weights[query, w + 1], odd)
        a1, b1 = add_product(a1, weights[query + 1, w], even), add_product(b1, weights[query + 1, w + 1], odd)
        a2, b2 = add_product(a2, weights[query + 2, w], even), add_product(b2, weights[query + 2, w + 1], odd)
        a3, b3 = add_product(a3, weights[query + 3, w], even), add_product(b3, weights[query + 3, w + 1], odd)
    put(dots, (0, 0), add_product(a0, np.float32(1), b0))
    put(dots, (1, 0), add_product(a1, np.float32(1), b1))
    put(dots, (2, 0), add_product(a2, np.float32(1), b2))
    put(dots, (3, 0), add_product(a3, np.float32(1), b3))


def _possible(
    dots: np.ndarray,
    number: int,
    outer: np.ndarray,
    level: int,
    start: int,
    own_rest: float,
    reach: float,
    threshold: float,
) -> int:
    """Bits of the lanes that a level cannot exclude."""
    wrong = vector(outer, (level, 2, start))
    scores = add_product(vector(dots, (number, 0)), own_rest, vector(outer, (level, 1, start)))
    scores = add_product(scores, np.float32(-1), vector(outer, (level, 0, start)))
    scores = add_product(scores, wrong, add_product(filled(reach), np.float32(0.5), wrong))
    return not_below(scores, threshold)


def _scan(
    tiles: np.ndarray,
    second: np.ndarray,
    rows: np.ndarray,
    outer: np.ndarray,
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
    found_place: np.ndarray,
    found_bound: np.ndarray,
) -> int:
    """Pairs in some tiles that no level can exclude; see `spell_int8` for the test, `Index` for shapes."""
    dots = np.empty((BLOCK, LANES), np.float32)
    left = np.empty(BLOCK, np.int64)
    count = 0
    for tile in range(start_tile, stop_tile):
        start = tile * LANES
        for block in range(0, weights.shape[0], BLOCK):
            for i in range(BLOCK):
                put(dots, (i, 0), filled(np.float32(0)))
            add_products(tiles, tile, weights, block, 0, dots)
            some = 0
            for i in range(BLOCK):
                q = block + i
                left[i] = possible(dots, i, outer, 0, start, query_rest[0, q], radius[q], thresholds[0, q])
                some |= left[i]
            if not some:
                continue
            if outer.shape[0] > 1:
                add_products(second, tile, weights, block, splits[0], dots)
            for i in range(BLOCK):
                q = block + i
                if left[i] and outer.shape[0] > 1:
                    left[i] = possible(
                        dots, i, outer, 1, start, query_rest[1, q], radius[q], thresholds[1, q]
                    )
                for lane in range(LANES):
                    if not left[i] >> lane & 1:
                        continue
                    bound = deeper_levels(
                        start + lane,
                        q,
                        dots[i, lane],
                        rows,
                        outer,
                        deep,
                        splits,
                        weights,
                        query_rest,
                        query_half,
                        thresholds,
                        radius[q],
                    )
                    if bound < np.inf:
                        found_query[count], found_place[count], found_bound[count] = q, start + lane, bound
                        count += 1
    return count


def _refine(
    query: np.ndarray,
    place: np.ndarray,
    tiles: np.ndarray,
    second: np.ndarray,
    rows: np.ndarray,
    outer: np.ndarray,
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
        q, p = query[pair], place[pair]
        dot = np.float32(0)
        column = tiles[p // LANES, :, p % LANES]
        for d in range(len(column)):
            dot += weights[q, d] * np.float32(column[d])
        column, own = second[p // LANES, :, p % LANES], weights[q, splits[0] :]
        for d in range(len(column)):
            dot += own[d] * np.float32(column[d])
        bounds[pair] = deeper_levels(
            p, q, dot, rows, outer, deep, splits, weights, query_rest, query_half, thresholds, radius[q]
        )


def _head_squares(
    query: np.ndarray,
    place: np.ndarray,
    tiles: np.ndarray,
    second: np.ndarray,
    rows: np.ndarray,
    coordinates: np.ndarray,
    scales: np.ndarray,
    out: np.ndarray,
) -> None:
    """Squared distances of pairs in the coordinates that the index keeps, float64 sums of float64 differences."""
    tile_end = len(scales) - rows.shape[1]
    first_end = min(tiles.shape[1], tile_end)
    for pair in range(len(query)):
        own, p = coordinates[query[pair]], place[pair]
        total = 0.0
        column = tiles[p // LANES, :, p % LANES]
        for d in range(first_end):
            off = own[d] - scales[d] * np.float64(column[d])
            total += off * off
        column = second[p // LANES, :, p % LANES]
        for d in range(tile_end - first_end):
            off = own[first_end + d] - scales[first_end + d] * np.float64(column[d])
            total += off * off
        row = rows[p]
        for d in range(len(row)):
            off = own[tile_end + d] - scales[tile_end + d] * np.float64(row[d])
            total += off * off
        out[pair] = total


def _squares(
    query: np.ndarray, row: np.ndarray, queries: np.ndarray, rows: np.ndarray, out: np.ndarray
) -> None:
    """Squared distances of pairs, float64 sums of float64 differences."""
    for pair in range(len(query)):
        total = 0.0
        for d in range(queries.shape[1]):
            off = queries[query[pair], d] - np.float64(rows[row[pair], d])
            total += off * off
        out[pair] = total


def _read(files: np.ndarray, offsets: np.ndarray, sizes: np.ndarray, addresses: np.ndarray) -> int:
    """Read spans of files into memory; how many were read before one failed."""
    for span in range(len(files)):
        done = 0
        while done < sizes[span]:
            got = _pread(files[span], addresses[span] + done, sizes[span] - done, offsets[span] + done)
            if got <= 0:
                return span
            done += got
    return len(files)


def _compiled(function: Any, inline: str = "never") -> Any:
    # Sums may be regrouped and fused: the error bounds hold in any order.
    return (
        None
        if njit is None
        else njit(nogil=True, fastmath={"contract", "reassoc", "nsz"}, inline=inline)(function)
    )


final_bound = _compiled(_final_bound)
add_products = _compiled(_add_products)
possible = _compiled(_possible)
deeper_levels = _compiled(_deeper_levels)
scan_tiles = _compiled(_scan)
refine_pairs = _compiled(_refine)
head_squares = _compiled(_head_squares)
pair_squares = _compiled(_squares)
read_spans = _compiled(_read)
