"""Stored references read back by number, and the exact distances that decide what is inside.

A memory map indexed by row numbers reads ahead some 128 KiB a row; runs of neighbouring rows by `preadv`, on several
threads, are far faster on a cold disk.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from .spell_errors import ReferencesError
from .spell_kernels import pair_squares, read_spans
from .spell_memory import exact_distance
from .spell_reference_shards import HEADER, require_size
from .spell_threads import in_parallel

_READERS = 8  # threads that wait for the disk
_RUN_BYTES = 1 << 20  # longer runs are split, to be read side by side


class _Spans(NamedTuple):
    """Neighbouring rows: in which shard, from which byte on, how many bytes, and where in memory they go."""

    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    address: np.ndarray


class RowReader:
    """Rows of fp16 shards by their number in the whole set.

    Args:
        paths: the shards.
        rows: number of rows of each.
        columns: D.

    Raises:
        ReferencesError: a shard is missing or cut short.
    """

    def __init__(self, paths: Sequence[Path], rows: Sequence[int], columns: int) -> None:
        for path, count in zip(paths, rows, strict=True):
            require_size(path, count, columns)
        self.columns, self.starts = columns, np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        self._paths = list(paths)
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="spell-read")

    def __len__(self) -> int:
        return int(self.starts[-1])

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows by ascending, different numbers, shape (M,) int64 to (M, D) fp16.

        Raises:
            ReferencesError: a shard has become shorter since it was opened.
        """
        result = np.empty((len(rows), self.columns), np.float16)
        if not len(rows):
            return result
        first = np.concatenate(
            [[0], np.flatnonzero((np.diff(rows) != 1) | np.isin(rows[1:], self.starts)) + 1]
        )
        spans = self._spans(rows, first, result.ctypes.data)
        parts = min(_READERS, 1 + len(spans.size) // 2)
        work = [_Spans(*(np.ascontiguousarray(each[i::parts]) for each in spans)) for i in range(parts)]
        if parts == 1:
            self._read_spans(*work)
        else:
            list(self._pool.map(self._read_spans, work))
        return result

    def close(self) -> None:
        """Let go of the files."""
        self._pool.shutdown()
        for file in self._files:
            os.close(file)
        self._files = []

    def __del__(self) -> None:
        if getattr(self, "_files", None):
            self.close()

    def _spans(self, rows: np.ndarray, first: np.ndarray, address: int) -> _Spans:
        """Spans of neighbouring rows that begin at some places, none too long."""
        longest, width = max(1, _RUN_BYTES // (2 * self.columns)), 2 * self.columns
        stop = np.append(first[1:], len(rows))
        pieces = -(-(stop - first) // longest)
        number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        begin = np.repeat(first, pieces) + longest * number
        size = np.minimum(begin + longest, np.repeat(stop, pieces)) - begin
        shard = np.searchsorted(self.starts, rows[begin], side="right") - 1
        offset = HEADER + width * (rows[begin] - self.starts[shard])
        return _Spans(shard, offset, width * size, address + width * begin)

    def _read_spans(self, spans: _Spans) -> None:
        files = np.asarray(self._files)[spans.shard]
        done = 0 if read_spans is None else read_spans(files, *spans[1:])
        for i in range(done, len(files)):  # those that failed, to say why
            size = int(spans.size[i])
            buffer = memoryview((ctypes.c_char * size).from_address(int(spans.address[i]))).cast("B")
            offset = int(spans.offset[i])
            while len(buffer):
                got = os.preadv(int(files[i]), [buffer], offset)
                if not got:
                    raise ReferencesError(
                        f"{self._paths[spans.shard[i]]}: was cut short while in use; restore it"
                    )
                buffer, offset = buffer[got:], offset + got


def pair_distances(
    queries: torch.Tensor, rows: torch.Tensor, query: np.ndarray, row: np.ndarray
) -> np.ndarray:
    """Distances of pairs by float64 differences, shape (M,), float64.

    Args:
        queries: shape (B, D).
        rows: shape (R, D), float32, on the same device.
        query, row: the pairs, shape (M,), int64.
    """
    result = np.empty(len(query))
    if pair_squares is not None and rows.device.type == "cpu":
        own, theirs = queries.detach().double().numpy(), rows.numpy()
        in_parallel(lambda some: pair_squares(query[some], row[some], own, theirs, result[some]), len(result))
        return np.sqrt(result)
    for start in range(0, len(query), 256):
        some = slice(start, start + 256)
        one, other = (torch.from_numpy(each[some]).to(rows.device) for each in (query, row))
        result[some] = exact_distance(queries[one], rows[other]).cpu().numpy()
    return result
