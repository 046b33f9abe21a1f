"""Stored references read back by number, and the exact distances that decide what is inside.

A memory map indexed by row numbers reads ahead some 128 KiB a row; runs of neighbouring rows by `preadv`, on several
threads, are far faster on a cold disk.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from .spell_errors import ReferencesError
from .spell_memory import exact_distance
from .spell_reference_shards import HEADER, require_size

_READERS = 8  # threads that wait for the disk
_RUN_BYTES = 1 << 20  # longer runs are split, to be read side by side


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
        longest = max(1, _RUN_BYTES // (2 * self.columns))
        breaks = np.flatnonzero((np.diff(rows) != 1) | np.isin(rows[1:], self.starts)) + 1
        runs = [
            (start, min(start + longest, stop))
            for first, stop in zip([0, *breaks.tolist()], [*breaks.tolist(), len(rows)], strict=True)
            for start in range(first, stop, longest)
        ]
        if len(runs) <= 2:
            self._read_runs(rows, result, runs)
        else:
            parts = [runs[i::_READERS] for i in range(min(_READERS, len(runs)))]
            list(self._pool.map(lambda part: self._read_runs(rows, result, part), parts))
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

    def _read_runs(self, rows: np.ndarray, result: np.ndarray, runs: list[tuple[int, int]]) -> None:
        for start, stop in runs:
            shard = int(np.searchsorted(self.starts, rows[start], side="right")) - 1
            buffer = memoryview(result[start:stop]).cast("B")
            offset = HEADER + 2 * self.columns * int(rows[start] - self.starts[shard])
            while len(buffer):
                got = os.preadv(self._files[shard], [buffer], offset)
                if not got:
                    raise ReferencesError(f"{self._paths[shard]}: was cut short while in use; restore it")
                buffer, offset = buffer[got:], offset + got


def exact_pairs(
    queries: torch.Tensor, rows: torch.Tensor, query: torch.Tensor, row: torch.Tensor, radius: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which candidate pairs lie within a radius, by float64 differences.

    Args:
        queries: shape (B, D).
        rows: shape (R, D).
        query, row: candidate pairs, shape (M,), int64.
        radius: of the balls.

    Returns:
        Numbers of the pairs inside, ascending, and their distances, float64.
    """
    distance = torch.cat(
        [
            exact_distance(queries[query[i : i + 256]], rows[row[i : i + 256]])
            for i in range(0, len(query), 256)
        ]
        or [torch.empty(0, dtype=torch.float64, device=queries.device)]
    )
    inside = (distance <= radius).nonzero().flatten()
    return inside, distance[inside]
