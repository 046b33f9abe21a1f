"""Files of fp16 references: written by appending, so that a kill loses one batch at most.

A shard is a safetensors file with one tensor, ``rows`` (N, D), whose data starts on a page. While it grows it is
called ``.partial``; what it holds in whole rows counts as done.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .spell_errors import ReferencesError

HEADER = 4096  # bytes before the first row
SHARD_BYTES = 1 << 28
_PIECE = 1 << 23


def shard_path(folder: Path, name: str) -> Path:
    """Where a finished shard lies."""
    return folder / f"{name}.safetensors"


def shard_bytes(rows: int, columns: int) -> int:
    """Size of a whole shard."""
    return HEADER + 2 * rows * columns


class GrowingShard:
    """A shard while it is written; continues what an earlier process left.

    Args:
        folder: of the set.
        name: of the shard.
        rows: it will hold.
        columns: D.
    """

    def __init__(self, folder: Path, name: str, rows: int, columns: int) -> None:
        self.target, self.rows, self.columns = shard_path(folder, name), rows, columns
        self.path = self.target.with_suffix(".partial")

    def whole_rows(self, multiple: int) -> int:
        """Rows that are there already, in whole multiples; anything after them is cut off."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < HEADER:
            self.path.write_bytes(_header(self.rows, self.columns))
            return 0
        rows = (size - HEADER) // (2 * self.columns) // multiple * multiple
        os.truncate(self.path, shard_bytes(rows, self.columns))
        return rows

    def append(self, rows: np.ndarray) -> None:
        """Add rows (M, D) of fp16 and wait for the disk, so that length means content after a power cut too.

        Raises:
            ReferencesError: no space.
        """
        try:
            with self.path.open("ab") as file:
                file.write(np.ascontiguousarray(rows, dtype="<f2").data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ReferencesError(
                f"{self.path}: cannot be written ({error.strerror}); the whole shard takes "
                f"{shard_bytes(self.rows, self.columns):,} bytes. Free some space and run again to go on"
            ) from error

    def finish(self) -> None:
        """Give the whole shard its name."""
        self.path.replace(self.target)


def require_size(path: Path, rows: int, columns: int) -> None:
    """Raise a `ReferencesError` that names the shard if it is missing or cut short."""
    size = path.stat().st_size if path.is_file() else 0
    if size != (whole := shard_bytes(rows, columns)):
        raise ReferencesError(
            f"{path}: has {size:,} bytes instead of {whole:,}; fetch it again from a whole copy or build the set "
            "again"
        )


def shard_sha256(path: Path, rows: int, columns: int, removed: Sequence[int]) -> str:
    """Hex digest of a shard with the removed rows (ascending) read as zeros.

    So the digest is right before and after these rows are erased, and a kill in between damages nothing.
    """
    digest = hashlib.sha256()
    zeros = bytes(2 * columns)
    with path.open("rb") as file:
        for row in (*removed, rows):
            end = shard_bytes(row, columns)
            while file.tell() < end:
                piece = file.read(min(_PIECE, end - file.tell()))
                if not piece:
                    require_size(path, rows, columns)
                digest.update(piece)
            if row < rows:
                digest.update(zeros)
                file.seek(len(zeros), os.SEEK_CUR)
    return digest.hexdigest()


def removed_rows(items: Sequence[int], views: int, first: int = 0) -> np.ndarray:
    """Numbers of the rows of removed items, where a shard's rows begin with number `first`."""
    return (first + np.asarray(items, dtype=np.int64)[:, None] * views + np.arange(views)).ravel()


def erase_rows(path: Path, columns: int, removed: Sequence[int]) -> None:
    """Overwrite rows by zeros in place."""
    zeros = bytes(2 * columns)
    with path.open("r+b") as file:
        for row in removed:
            file.seek(shard_bytes(row, columns))
            file.write(zeros)
        file.flush()
        os.fsync(file.fileno())


def _header(rows: int, columns: int) -> bytes:
    size = 2 * rows * columns
    tensor = {"dtype": "F16", "shape": [rows, columns], "data_offsets": [0, size]}
    return struct.pack("<Q", HEADER - 8) + json.dumps({"rows": tensor}).encode().ljust(HEADER - 8)
