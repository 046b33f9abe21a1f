"""One pass over the index: the pairs that the bounds cannot exclude, chunk by chunk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from .spell_index import Index
from .spell_int8 import PreparedQueries
from .spell_kernels import LANES, refine_pairs, scan_tiles

_TILES = 512  # of a chunk
_PAIRS = 1 << 14  # whose deeper coordinates PyTorch gathers at once
_FARTHEST = 1e12  # beyond any distance of fp16 references; keeps float32 finite


class Candidates(NamedTuple):
    """Pairs that may be inside.

    Attributes:
        query, row: shape (M,), int64.
        bound: what their distance is not below, shape (M,), float64.
    """

    query: np.ndarray
    row: np.ndarray
    bound: np.ndarray


def scan(index: Index, queries: PreparedQueries, radius: torch.Tensor) -> Iterator[Candidates]:
    """Candidates of all references, in the order of their numbers.

    Args:
        index: of the references.
        queries: B of them, on the device of the index.
        radius: for each query, shape (B,), float64. May be lowered in place while the pass runs.
    """
    chunks = [(first, min(first + _TILES, len(index.tiles))) for first in range(0, len(index.tiles), _TILES)]
    if scan_tiles is None or index.tiles.device.type != "cpu":
        for first, last in chunks:
            yield _torch_chunk(index, queries, radius.clamp_max(_FARTHEST), first, last)
        return
    workers = max(1, min(torch.get_num_threads(), len(chunks)))
    if workers == 1:
        for first, last in chunks:
            yield _numba_chunk(index, queries, radius, first, last)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="spell-scan") as pool:
        ahead: deque[Future[Candidates]] = deque()
        for first, last in chunks:
            ahead.append(pool.submit(_numba_chunk, index, queries, radius, first, last))
            if len(ahead) > workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def refine(index: Index, queries: PreparedQueries, radius: torch.Tensor, pairs: Candidates) -> Candidates:
    """Those of given pairs that the bounds of these queries cannot exclude."""
    radius = radius.clamp_max(_FARTHEST)
    if refine_pairs is None or index.tiles.device.type != "cpu":
        query, row = (torch.from_numpy(each).to(index.tiles.device) for each in pairs[:2])
        kept = [
            _levels(
                index,
                queries,
                radius,
                query[some],
                row[some],
                _products(index, queries, query[some], row[some], slice(index.coordinates.levels[0])),
            )
            for some in (slice(start, start + _PAIRS) for start in range(0, len(query), _PAIRS))
        ]
        return _joined(kept)
    bounds = np.empty(len(pairs.row))
    refine_pairs(
        pairs.query,
        pairs.row,
        index.second.numpy(),
        index.steps.numpy(),
        *_arrays(index, queries, radius),
        bounds,
    )
    kept = np.flatnonzero(bounds < np.inf)
    return Candidates(pairs.query[kept], pairs.row[kept], bounds[kept])


def _numba_chunk(
    index: Index, queries: PreparedQueries, radius: torch.Tensor, first: int, last: int
) -> Candidates:
    room = (last - first) * LANES * len(radius)
    query, row, bound = np.empty(room, np.int32), np.empty(room, np.int64), np.empty(room, np.float64)
    arrays = _arrays(index, queries, radius.clamp_max(_FARTHEST))
    held = (index.tiles.numpy(), index.second.numpy(), index.steps.numpy(), index.first.numpy())
    found = scan_tiles(*held, *arrays, first, last, query, row, bound)
    return Candidates(query[:found].astype(np.int64), row[:found].copy(), bound[:found].copy())


def _arrays(index: Index, queries: PreparedQueries, radius: torch.Tensor) -> list[np.ndarray]:
    """What both compiled loops take."""
    short = index.tiles.shape[1] - queries.weights.shape[1]
    weights = torch.nn.functional.pad(queries.weights, (0, max(0, short)))
    return [
        index.deep.numpy(),
        np.asarray(index.coordinates.levels),
        weights.contiguous().numpy(),
        queries.rest.numpy(),
        queries.half.numpy(),
        queries.thresholds(radius).numpy(),
        radius.float().numpy(),
    ]


def _torch_chunk(
    index: Index, queries: PreparedQueries, radius: torch.Tensor, first: int, last: int
) -> Candidates:
    """The same in float64, on any device."""
    level = index.coordinates.levels[0]
    tiles = index.tiles[first:last, :level].double()
    dots = torch.matmul(queries.weights[:, :level].double(), tiles).movedim(1, 0).flatten(1)
    rows = slice(first * LANES, last * LANES)
    half, rest, wrong = index.first[:, rows].double()
    scores = dots + queries.rest[0, :, None].double() * rest - half
    scores += wrong * (radius[:, None] + wrong / 2)
    query, lane = (scores >= queries.thresholds(radius)[0, :, None]).nonzero(as_tuple=True)
    return _joined(
        [
            _levels(
                index, queries, radius, query[some], rows.start + lane[some], dots[query[some], lane[some]]
            )
            for some in (slice(start, start + _PAIRS) for start in range(0, len(query), _PAIRS))
        ]
    )


def _levels(
    index: Index,
    queries: PreparedQueries,
    radius: torch.Tensor,
    query: torch.Tensor,
    row: torch.Tensor,
    dots: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which pairs the levels after the first leave, and their bounds by the last."""
    levels, thresholds = index.coordinates.levels, queries.thresholds(radius)
    bound = torch.zeros_like(dots)
    for level in range(1, len(levels)):
        dots = dots + _products(index, queries, query, row, slice(levels[level - 1], levels[level]))
        half, rest, wrong = index.deep[row, level - 1].double().T
        product = dots + queries.rest[level, query].double() * rest
        bound = (2 * (queries.half[level, query] + half - product)).clamp_min(0).sqrt() - wrong
        possible = product - half + wrong * (radius[query] + wrong / 2) >= thresholds[level, query]
        query, row, dots, bound = query[possible], row[possible], dots[possible], bound[possible]
    return query, row, bound


def _products(
    index: Index, queries: PreparedQueries, query: torch.Tensor, row: torch.Tensor, columns: slice
) -> torch.Tensor:
    return (index.steps[row, columns].double() * queries.weights[query, columns]).sum(1)


def _joined(parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> Candidates:
    if not parts:
        return Candidates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    return Candidates(*(torch.cat(each).cpu().numpy() for each in zip(*parts, strict=True)))
