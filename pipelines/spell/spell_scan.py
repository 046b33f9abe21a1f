"""One pass over the index: the pairs that the bounds cannot exclude, chunk by chunk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad

from .spell_index import Index
from .spell_int8 import LANES, PreparedQueries
from .spell_kernels import BLOCK, refine_pairs, scan_tiles
from .spell_threads import in_parallel

TILES = 2048  # of a chunk
_PAIRS = 1 << 14  # whose deeper coordinates PyTorch gathers at once
_FARTHEST = 1e12  # beyond any distance of fp16 references; keeps float32 finite


class Candidates(NamedTuple):
    """Pairs that may be inside.

    Attributes:
        query: index into the batch, shape (M,), int64.
        place: in the index, shape (M,), int64.
        bound: what their distance is not below, shape (M,), float64.
    """

    query: np.ndarray
    place: np.ndarray
    bound: np.ndarray

    def where(self, chosen: np.ndarray | slice) -> Candidates:
        """Some of them, by a mask, numbers or a slice."""
        return Candidates(self.query[chosen], self.place[chosen], self.bound[chosen])


def scan(index: Index, queries: PreparedQueries, radius: torch.Tensor) -> Iterator[Candidates]:
    """Candidates of all references, in the order of their places.

    Args:
        index: of the references.
        queries: B of them, on the device of the index.
        radius: for each query, shape (B,), float64. May be lowered in place while the pass runs.
    """
    chunks = [(first, min(first + TILES, len(index.tiles))) for first in range(0, len(index.tiles), TILES)]
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
        query, place = (torch.from_numpy(each).to(index.tiles.device) for each in pairs[:2])
        kept = []
        for start in range(0, max(1, len(query)), _PAIRS):
            some = query[start : start + _PAIRS], place[start : start + _PAIRS]
            dots = torch.zeros(len(some[0]), dtype=torch.float64, device=query.device)
            kept.append(_levels(index, queries, radius, *some, dots, 0))
        return joined(kept)
    bounds = np.empty(len(pairs.place))
    arrays = _arrays(index, queries, radius)
    in_parallel(
        lambda some: refine_pairs(pairs.query[some], pairs.place[some], *arrays, bounds[some]), len(bounds)
    )
    return pairs._replace(bound=bounds).where(bounds < np.inf)


def _numba_chunk(
    index: Index, queries: PreparedQueries, radius: torch.Tensor, first: int, last: int
) -> Candidates:
    room = (last - first) * LANES * len(radius)
    query, place, bound = np.empty(room, np.int32), np.empty(room, np.int64), np.empty(room, np.float64)
    arrays = _arrays(index, queries, radius.clamp_max(_FARTHEST))
    found = scan_tiles(*arrays, first, last, query, place, bound)
    return Candidates(query[:found].astype(np.int64), place[:found].copy(), bound[:found].copy())


def _arrays(index: Index, queries: PreparedQueries, radius: torch.Tensor) -> list[np.ndarray]:
    """What both compiled loops take."""
    held = (index.tiles, index.second, index.rows, index.outer, index.deep)
    more = -len(radius) % BLOCK  # queries that reach nothing fill the last block
    return [
        *(tensor.numpy() for tensor in held),
        np.asarray(index.coordinates.levels),
        pad(queries.weights, (0, 1, 0, more)).numpy(),  # weights beyond a level meet zeros
        pad(queries.rest, (0, more)).numpy(),
        pad(queries.half, (0, more)).numpy(),
        pad(queries.thresholds(radius), (0, more), value=torch.inf).numpy(),
        pad(radius.float(), (0, more)).numpy(),
    ]


def _torch_chunk(
    index: Index, queries: PreparedQueries, radius: torch.Tensor, first: int, last: int
) -> Candidates:
    """The same in float64, on any device."""
    level = index.coordinates.levels[0]
    tiles = index.tiles[first:last, :level].double()
    dots = torch.matmul(queries.weights[:, :level].double(), tiles).movedim(1, 0).flatten(1)
    rows = slice(first * LANES, last * LANES)
    half, rest, wrong = index.outer[0, :, rows].double()
    scores = dots + queries.rest[0, :, None].double() * rest - half
    scores += wrong * (radius[:, None] + wrong / 2)
    query, lane = (scores >= queries.thresholds(radius)[0, :, None]).nonzero(as_tuple=True)
    kept = []
    for start in range(0, max(1, len(query)), _PAIRS):
        some = query[start : start + _PAIRS], lane[start : start + _PAIRS]
        kept.append(_levels(index, queries, radius, some[0], rows.start + some[1], dots[some], 1))
    return joined(kept)


def _levels(
    index: Index,
    queries: PreparedQueries,
    radius: torch.Tensor,
    query: torch.Tensor,
    place: torch.Tensor,
    dots: torch.Tensor,
    first: int,
) -> Candidates:
    """Which pairs the levels from `first` on leave, and their bounds by the last; `dots` are those before it."""
    splits, thresholds = (0, *index.coordinates.levels), queries.thresholds(radius)
    bound = torch.zeros_like(dots)
    for level in range(min(first, len(splits) - 2), len(splits) - 1):
        if level >= first:
            columns = slice(splits[level], splits[level + 1])
            steps = index.steps(place)[:, columns].double()
            dots = dots + (steps * queries.weights[query, columns]).sum(1)
        if level < index.tiled:
            half, rest, wrong = index.outer[level, :, place].double()
        else:
            half, rest, wrong = index.deep[place, level - index.tiled].double().T
        product = dots + queries.rest[level, query].double() * rest
        bound = (2 * (queries.half[level, query] + half - product)).clamp_min(0).sqrt() - wrong
        possible = product - half + wrong * (radius[query] + wrong / 2) >= thresholds[level, query]
        query, place, dots, bound = query[possible], place[possible], dots[possible], bound[possible]
    return Candidates(*(each.cpu().numpy() for each in (query, place, bound)))


def joined(parts: Sequence[Candidates]) -> Candidates:
    """All of them, one after the other."""
    return Candidates(*(np.concatenate(each) for each in zip(*parts, strict=True)))
