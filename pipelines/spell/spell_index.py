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

from .spell_coordinates import SAMPLE, Coordinates, fit_coordinates, levels_of
from .spell_errors import ReferencesError
from .spell_int8 import LANES, Quantised, quantise
from .spell_reference_manifest import Shard, read_json, write_bytes, write_json
from .spell_reference_shards import removed_rows
from .spell_rerank import RowReader

_COORDINATES = "index"
_ROWS = 128  # at once: float64 temporaries that the allocator keeps
_TILED = 2  # levels that lie side by side; pairs that reach the others are few
_PUT = 1 << 13  # references that are placed at once
_HELD = ("numbers", "tiles", "second", "rows", "outer", "deep")


class Index:
    """All references as int8 coordinates, in memory; N is rounded up to whole tiles.

    References lie in the order of their length within what was put at once: those that bounds cannot exclude are
    mostly short, so whole tiles of long ones are done after the first level.

    Attributes:
        coordinates: the transform.
        numbers: of the reference at each place, shape (N,), int64.
        tiles: the first level, shape (N / LANES, K, LANES) with K rounded up to 2, int8.
        second: the same of the second level alone; no coordinates where there is one level.
        rows: coordinates of the levels after them, row by row, shape (N, levels[-1] - levels[1]), int8.
        outer: half, rest and error of `Quantised` at the levels of the tiles, shape (2, 3, N), float32; half is
            infinite where nothing is protected.
        deep: the same at the other levels, row by row, shape (N, L - 2, 3), float32.
    """

    def __init__(self, coordinates: Coordinates, rows: int) -> None:
        self.coordinates = coordinates
        levels = coordinates.levels
        tiles = -(-rows // LANES)
        padded = tiles * LANES
        self.numbers = _zeros((padded,), np.int64)
        self.tiles = _zeros((tiles, _even(levels[0]), LANES), np.int8)
        self.second = _zeros((tiles, _even(levels[self.tiled - 1] - levels[0]), LANES), np.int8)
        self.rows = _zeros((padded, levels[-1] - levels[self.tiled - 1]), np.int8)
        self.outer = _zeros((self.tiled, 3, padded), np.float32)
        self.outer[:, 0] = torch.inf
        self.deep = _zeros((padded, len(levels) - self.tiled, 3), np.float32)
        self._copies: dict[torch.device, Index] = {}

    @property
    def tiled(self) -> int:
        """How many levels the tiles hold."""
        return min(len(self.coordinates.levels), _TILED)

    def put(self, first: int, part: Quantised, removed: np.ndarray) -> None:
        """Place references from number `first` on; those with the numbers `removed` protect nothing."""
        order = part.half[0].argsort(stable=True)
        places = torch.arange(first, first + len(order))
        self.numbers[places] = first + order
        tiled, one, two = self.tiled, self.coordinates.levels[0], self.coordinates.levels[self.tiled - 1]
        for start in range(0, len(order), _PUT):
            some = slice(start, start + _PUT)
            steps, place = part.steps[order[some]], places[some]
            self.tiles[place // LANES, :one, place % LANES] = steps[:, :one]
            self.second[place // LANES, : two - one, place % LANES] = steps[:, one:two]
            self.rows[place] = steps[:, two:]
        bounds = torch.stack([part.half, part.rest, part.error], 1)[:, :, order]  # (L, 3, rows)
        self.outer[:, :, places] = bounds[:tiled]
        self.deep[places] = bounds[tiled:].permute(2, 0, 1)
        dropped = torch.isin(self.numbers[places], torch.from_numpy(removed))
        self.outer[:, 0, places[dropped]] = torch.inf

    def steps(self, places: torch.Tensor) -> torch.Tensor:
        """All coordinates of the references at some places (M,), shape (M, levels[-1]), int8."""
        one, two = self.coordinates.levels[0], self.coordinates.levels[self.tiled - 1]
        first = self.tiles[places // LANES, :one, places % LANES]
        second = self.second[places // LANES, : two - one, places % LANES]
        return torch.cat([first, second, self.rows[places]], 1)

    def on(self, device: torch.device) -> Index:
        """Itself, or a copy on another device, which is kept for the next time."""
        if device == self.tiles.device:
            return self
        if device not in self._copies:
            copy = object.__new__(Index)
            copy.coordinates, copy._copies = self.coordinates, {}
            for name in _HELD:
                setattr(copy, name, getattr(self, name).to(device))
            self._copies[device] = copy
        return self._copies[device]

    @property
    def bytes(self) -> int:
        """Memory taken."""
        held = [getattr(self, name) for name in _HELD]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


def _even(count: int) -> int:
    """Rounded up: the compiled loop takes two coordinates at once."""
    return count + count % 2


def _zeros(shape: tuple[int, ...], kind: type) -> torch.Tensor:
    """By NumPy's allocator, which asks for huge pages: places are visited at random."""
    array = np.empty(shape, kind)
    array.fill(0)
    return torch.from_numpy(array)


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
        index.put(rows.start, part, removed_rows(shard.removed, len(rows) // shard.items, rows.start))
        if progress is not None:
            progress(len(rows))
    return index


def forget_shard(folder: Path, shard: Shard) -> None:
    """Delete what the index holds of a shard; it is made again when it is needed."""
    _path(folder, shard).unlink(missing_ok=True)


def _coordinates(
    folder: Path, sample_shape: tuple[int, ...], reader: RowReader
) -> tuple[Coordinates, dict[str, Any]]:
    """The set's coordinates and what tells them from others, fitted where they are missing or damaged."""
    path, note = folder / f"{_COORDINATES}.safetensors", folder / f"{_COORDINATES}.json"
    content = path.read_bytes() if path.is_file() else b""
    if _noted(note) == (made_by := _identity(content, reader.columns)):
        return Coordinates(sample_shape, **load(content)), made_by
    step = max(1, len(reader) // SAMPLE)
    sample = torch.from_numpy(reader.read(np.arange(0, len(reader), step)[:SAMPLE]))
    coordinates = fit_coordinates(sample, sample_shape)
    content = save(coordinates.tensors())
    made_by = _identity(content, reader.columns)
    write_bytes(path, content)
    write_json(note, made_by)
    return coordinates, made_by


def _identity(coordinates: bytes, columns: int) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(coordinates).hexdigest(), "levels": list(levels_of(columns))}


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


def _read_part(folder: Path, shard: Shard, coordinates: dict[str, Any]) -> Quantised | None:
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
