"""A safetensors file of known size that is reserved first and filled block by block.

The header is written up front and the space reserved, so the file is valid safetensors at every moment, a
full disk is found before hours of work, and several processes can write their own blocks.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from ..errors import FeatureCacheError

_DTYPES = {"F32": "<f4", "F16": "<f2"}


class CacheFile:
    """Arrays of shape (rows, width) in one safetensors file.

    Args:
        path: the file.
        widths: array name -> number of columns.
        rows: number of rows of each.
        dtype: of all of them, ``F32`` or ``F16``.
    """

    def __init__(self, path: Path, widths: dict[str, int], rows: int, dtype: str = "F32") -> None:
        self.path, self.widths, self.rows = path, widths, rows
        self.dtype = np.dtype(_DTYPES[dtype])
        header: dict[str, object] = {}
        self._offsets: dict[str, int] = {}
        end = 0
        for name, width in widths.items():
            begin, end = end, end + self.dtype.itemsize * width * rows
            header[name] = {"dtype": dtype, "shape": [rows, width], "data_offsets": [begin, end]}
            self._offsets[name] = begin
        encoded = json.dumps(header, separators=(",", ":")).encode()
        encoded += b" " * (-len(encoded) % 8)
        self._header = len(encoded).to_bytes(8, "little") + encoded
        self.size = len(self._header) + end

    def reserve(self) -> None:
        """Create the file with all its space, unless it is there already.

        Raises:
            FeatureCacheError: there is not enough space, or the file that is there has another size.
        """
        if self.path.exists():
            self.check_size()
            return
        temporary = self.path.with_suffix(".reserving")
        try:
            with temporary.open("wb") as file:
                file.write(self._header)
                file.flush()
                os.posix_fallocate(file.fileno(), 0, self.size)
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise self._full(error) from error

    def check_size(self) -> None:
        """Raise ``FeatureCacheError`` if the file is missing or was cut short."""
        actual = self.path.stat().st_size if self.path.exists() else 0
        if actual != self.size:
            raise FeatureCacheError(
                f"{self.path}: has {actual:,} of {self.size:,} bytes, so it was cut short; delete its folder "
                f"{self.path.parent} and build the cache again"
            )

    def write(self, first_row: int, arrays: dict[str, np.ndarray]) -> None:
        """Write rows of every array, durable when this returns."""
        try:
            with self.path.open("r+b") as file:
                for name, array in arrays.items():
                    file.seek(self._position(name, first_row))
                    file.write(self.stored(array).tobytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._full(error) from error

    def stored(self, array: np.ndarray) -> np.ndarray:
        """An array as `read` gives it back, rounded to the file's type; no copy where it has that type."""
        return np.ascontiguousarray(array, dtype=self.dtype)

    def read(self, name: str) -> np.ndarray:
        """One array (rows, width), memory-mapped and read-only."""
        shape = (self.rows, self.widths[name])
        return np.memmap(self.path, dtype=self.dtype, mode="r", offset=self._position(name, 0), shape=shape)

    def _position(self, name: str, row: int) -> int:
        return len(self._header) + self._offsets[name] + self.dtype.itemsize * self.widths[name] * row

    def _full(self, error: OSError) -> FeatureCacheError:
        return FeatureCacheError(
            f"{self.path}: cannot hold {self.size / 2**30:.2f} GiB ({error.strerror}); free some space or "
            "set HUB_MODELS_CACHE to a larger disk. What was finished is kept"
        )
