"""Which blocks of a cache are finished: a line of JSON for each, with the hash of its rows.

A line is written after its rows are on disk. So a kill between the two costs one block, and rows that are not
what their line says are done again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from .cache_file import CacheFile


class BlockJournal:
    """The journals ``done-<rank>.jsonl`` of a cache, one for each process that wrote to it.

    Args:
        directory: of the cache.
        file: whose rows they speak of.
        block_rows: rows of each block but perhaps the last.
    """

    def __init__(self, directory: Path, file: CacheFile, block_rows: int) -> None:
        self.directory, self.file, self.block_rows = directory, file, block_rows

    def finished(self) -> dict[int, dict[str, str]]:
        """Blocks whose rows are on disk exactly as noted -> {number of an unreadable image: why}."""
        arrays = {name: self.file.read(name) for name in self.file.widths}
        done: dict[int, dict[str, str]] = {}
        for journal in sorted(self.directory.glob("done-*.jsonl")):
            for line in journal.read_bytes().splitlines():
                try:
                    entry = json.loads(line)
                    block, digest, skipped = int(entry["block"]), entry["sha256"], entry["skipped"]
                except (ValueError, KeyError, TypeError):
                    continue  # cut short by a kill
                first = block * self.block_rows
                rows = {name: array[first : first + self.block_rows] for name, array in arrays.items()}
                if _sha256(rows) == digest:
                    done[block] = skipped
        return done

    def start(self, rank: int) -> None:
        """End the half line that a kill may have left, or the next one would be glued to it."""
        path = self._path(rank)
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            with path.open("a", encoding="utf-8") as log:
                log.write("\n")

    def note(self, rank: int, block: int, rows: dict[str, np.ndarray], skipped: dict[int, str]) -> None:
        """Add a finished block."""
        line = {"block": block, "sha256": _sha256(rows), "skipped": skipped}
        with self._path(rank).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def _path(self, rank: int) -> Path:
        return self.directory / f"done-{rank}.jsonl"


def _sha256(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name], dtype="<f4").tobytes())
    return digest.hexdigest()
