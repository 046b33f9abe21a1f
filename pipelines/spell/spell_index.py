"""The index of a large set: int8 coordinates in memory, small beside the references on disk.

It lies beside the shards, one file each, and is derived from them: a file that is missing, damaged or older than its
shard is made again. Damage must not go unseen, since a wrong bound would be a miss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from .spell_coordinates import SAMPLE, Coordinates, fit_coordinates
from .spell_errors import ReferencesError
from .spell_int8 import Quantised, quantise
from .spell_kernels import LANES
from .spell_reference_manifest import Shard, read_json, write_bytes, write_json
from .spell_reference_shards import removed_rows
from .spell_rerank import RowReader

_COORDINATES = "index"
_ROWS = 128  # at once: float64 temporaries that the allocator keeps


class Index:
    """All references as int8 coordinates, in memory; N is rounded up to whole tiles.

    Attributes:
        coordinates: the transform.
        tiles: the first level, shape (N / LANES, K, LANES) with K rounded up to 8, int8.
        second: coordinates of the second level alone: most pairs end there, so it must lie close, shape
            (N, levels[1] - levels[0]), int8.
        steps: all levels, row by row, shape (N, levels[-1]), int8.
        first: half, rest and error of `Quantised` at the first level, shape (3, N), float32; half is infinite where
            nothing is protected.
        deep: the same at the other levels, row by row, shape (N, L - 1, 3), float32.
    """

    def __init__(self, coordinates: Coordinates, rows: int) -> None:
        self.coordinates = coordinates
        levels = coordinates.levels
        tiles = -(-rows // LANES)
        padded = tiles * LANES
        self.tiles = torch.zeros(tiles, -(-levels[0] // 8) * 8, LANES, dtype=torch.int8)
        second = levels[1] - levels[0] if len(levels) > 1 else 0
        self.second = torch.zeros(padded, second, dtype=torch.int8)
        self.steps = torch.zeros(padded, levels[-1], dtype=torch.int8)
        self.first = torch.zeros(3, padded)
        self.first[0] = torch.inf
        self.deep = torch.zeros(padded, len(levels) - 1, 3)
        self._copies: dict[torch.device, Index] = {}

    def put(self, first: int, part: Quantised) -> None:
        """Place references from number `first` on."""
        rows = slice(first, first + len(part.steps))
        level = self.coordinates.levels[0]
        number = torch.arange(rows.start, rows.stop)
        for start in range(0, len(number), 1 << 16):
            some = slice(start, start + (1 << 16))
            self.tiles[number[some] // LANES, :level, number[some] % LANES] = part.steps[some, :level]
        self.second[rows] = part.steps[:, level : level + self.second.shape[1]]
        self.steps[rows] = part.steps
        bounds = torch.stack([part.half, part.rest, part.error])  # (3, L, rows)
        self.first[:, rows] = bounds[:, 0]
        self.deep[rows] = bounds[:, 1:].permute(2, 1, 0)

    def drop(self, rows: np.ndarray) -> None:
        """Let some references protect nothing."""
        self.first[0, torch.from_numpy(rows)] = torch.inf

    def on(self, device: torch.device) -> Index:
        """Itself, or a copy on another device, which is kept for the next time."""
        if device == self.tiles.device:
            return self
        if device not in self._copies:
            copy = object.__new__(Index)
            copy.coordinates, copy._copies = self.coordinates, {}
            for name in ("tiles", "second", "steps", "first", "deep"):
                setattr(copy, name, getattr(self, name).to(device))
            self._copies[device] = copy
        return self._copies[device]

    @property
    def bytes(self) -> int:
        """Memory taken."""
        held = (self.tiles, self.second, self.steps, self.first, self.deep)
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


def load_index(
    folder: Path,
    sample_shape: tuple[int, ...],
    shards: Sequence[Shard],
    reader: RowReader,
    progress: Callable[[int], None] | None = None,
) -> Index:
    """The index of a set, made where it is missing.

    Args:
        folder: of the set.
        sample_shape: of a reference.
        shards: of the set.
        reader: of its rows.
        progress: called with the number of further references done.
    """
    coordinates, made_by = _coordinates(folder, sample_shape, reader)
    index = Index(coordinates, len(reader))
    for number, shard in enumerate(shards):
        rows = range(int(reader.starts[number]), int(reader.starts[number + 1]))
        part = _read_part(folder, shard, made_by)
        if part is None or part.half.shape != (len(coordinates.levels), len(rows)):
            part = _make_part(reader, rows, coordinates)
            content = save(part._asdict())
            write_bytes(_path(folder, shard), content)
            digest = hashlib.sha256(content).hexdigest()
            write_json(
                _note(folder, shard), {"shard": shard.sha256, "coordinates": made_by, "sha256": digest}
            )
        index.put(rows.start, part)
        if shard.removed:
            index.drop(removed_rows(shard.removed, len(rows) // shard.items, rows.start))
        if progress is not None:
            progress(len(rows))
    return index


def forget_shard(folder: Path, shard: Shard) -> None:
    """Delete what the index holds of a shard; it is made again when it is needed."""
    _path(folder, shard).unlink(missing_ok=True)


def _coordinates(folder: Path, sample_shape: tuple[int, ...], reader: RowReader) -> tuple[Coordinates, str]:
    """The set's coordinates and their hash, fitted where they are missing or damaged."""
    path, note = folder / f"{_COORDINATES}.safetensors", folder / f"{_COORDINATES}.json"
    if path.is_file():
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if _noted(note) == {"sha256": digest}:
            return Coordinates(sample_shape, **load(content)), digest
    step = max(1, len(reader) // SAMPLE)
    sample = torch.from_numpy(reader.read(np.arange(0, len(reader), step)[:SAMPLE]))
    coordinates = fit_coordinates(sample, sample_shape)
    content = save(coordinates.tensors())
    digest = hashlib.sha256(content).hexdigest()
    write_bytes(path, content)
    write_json(note, {"sha256": digest})
    return coordinates, digest


def _noted(path: Path) -> Any:
    """The content of a note, None where there is none that can be read."""
    try:
        return read_json(path)
    except ReferencesError:
        return None


def _note(folder: Path, shard: Shard) -> Path:
    return folder / f"{shard.name}.index.json"


def _path(folder: Path, shard: Shard) -> Path:
    return folder / f"{shard.name}.index.safetensors"


def _read_part(folder: Path, shard: Shard, coordinates: str) -> Quantised | None:
    """The index of a shard if it is there, whole, and made of this shard by these coordinates."""
    noted = _noted(_note(folder, shard))
    if noted is None or not _path(folder, shard).is_file():
        return None
    content = _path(folder, shard).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if noted != {"shard": shard.sha256, "coordinates": coordinates, "sha256": digest}:
        return None
    return Quantised(**load(content))


def _make_part(reader: RowReader, rows: range, coordinates: Coordinates) -> Quantised:
    parts = [
        quantise(torch.from_numpy(reader.read(np.arange(start, min(start + _ROWS, rows.stop)))), coordinates)
        for start in range(rows.start, rows.stop, _ROWS)
    ]
    return Quantised(
        torch.cat([part.steps for part in parts]),
        *(torch.cat([getattr(part, name) for part in parts], 1) for name in ("half", "rest", "error")),
    )
