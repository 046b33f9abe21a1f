"""Run a frozen network once over every view of every image, and keep what it gives. A cache is a folder:

    manifest.json         what it was made of: hashes of weights, preprocessing, views and images
    images.bin            sha256 of every image, 32 bytes each, in order
    features.safetensors  one or more arrays of (images x views) rows, memory-mapped
    done-<rank>.jsonl     a line for each finished block, with the hash of its rows

It is addressed by its content, so a changed image, weight or view makes another cache. A block is written
first and noted after: a kill at any moment loses at most one block and never counts one twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..atomic import atomic_path, write_text
from ..errors import FeatureCacheError, ImageReadError, ImageSourceError
from ..image_reading import read_image
from ..image_sources import ImageSource
from ..locking import only_process
from ..progress import progress_bar
from .block_journal import BlockJournal
from .cache_file import CacheFile
from .views import ViewMaker, Views

if TYPE_CHECKING:
    from accelerate import Accelerator

BLOCK_IMAGES = 16

#: Inputs (B, 3, H, W) to arrays of B rows, by name.
Extract = Callable[[Tensor], dict[str, np.ndarray]]


@dataclass(frozen=True)
class ViewCache:
    """A finished cache, read from disk on demand.

    Attributes:
        arrays: by name (N, V, width), memory-mapped; view 0 is the whole image.
        readable: (N,) False where an image could not be decoded; its rows are NaN.
        skipped: name of each such image and why.
        views: what the V views are.
        directory: where it lies.
    """

    arrays: dict[str, np.ndarray]
    readable: np.ndarray
    skipped: dict[str, str]
    views: Views
    directory: Path


def build_view_cache(
    make_extract: Callable[[torch.device], Extract],
    widths: dict[str, int],
    made_of: Mapping[str, Any],
    maker: ViewMaker,
    source: ImageSource,
    root: Path,
    *,
    directory: Path | None = None,
    accelerator: Accelerator | None = None,
    show_progress: bool = True,
    dtype: str = "F32",
) -> ViewCache:
    """Build, continue or just open the cache of ``source`` under ``root``.

    Args:
        make_extract: called only if something is left to do, with the device to work on.
        widths: array name -> number of columns.
        made_of: all that the arrays depend on besides views, processor and images.
        root: the cache goes to ``root / <first 16 digits of the content hash>``.
        directory: use exactly this folder instead, and refuse it if it was made of other inputs.
        accelerator: splits the blocks over processes; every process returns the same cache.
        dtype: of the arrays on disk, see `CacheFile`.

    Raises:
        FeatureCacheError: no space, a cut or altered cache, other inputs than the folder was made of, or
            another process is building it.
    """
    with _disk_errors(directory or root):
        main = accelerator is None or accelerator.is_main_process
        show_progress = show_progress and main
        hashes = _image_hashes(source, root, main, accelerator, show_progress)
        inputs = {
            **made_of,
            "processor_sha256": _json_sha256(maker.processor.to_dict()),
            "views": asdict(maker.views),
            "images": len(source),
            "images_sha256": hashlib.sha256(hashes.data).hexdigest(),
        }
        directory = directory or root / _json_sha256(inputs)[:16]
        rows = len(source) * maker.views.count
        file = CacheFile(directory / "features.safetensors", widths, rows, dtype)
        if main:
            _claim(directory, inputs, hashes, file)
        if accelerator is not None:
            accelerator.wait_for_everyone()
        rank, ranks = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
        journal = BlockJournal(directory, file, BLOCK_IMAGES * maker.views.count)
        # Each rank has its own blocks, whatever the others have finished meanwhile.
        own = range(rank, _block_count(len(source)), ranks)
        if not journal.finished().keys() >= set(own):
            busy = FeatureCacheError(f"{directory}: another process is building this cache; wait for it")
            with only_process(directory / f"lock-{rank}", busy):
                done = journal.finished()
                device = accelerator.device if accelerator is not None else torch.device("cpu")
                items = _Blocks(source, maker, hashes, [block for block in own if block not in done])
                _fill(items, make_extract(device), device, file, journal, rank, show_progress)
        if accelerator is not None:
            accelerator.wait_for_everyone()
        return _open(directory, file, journal, source, maker.views)


def _fill(
    items: _Blocks,
    extract: Extract,
    device: torch.device,
    file: CacheFile,
    journal: BlockJournal,
    rank: int,
    show_progress: bool,
) -> None:
    loader = DataLoader(items, batch_size=None, num_workers=0 if device.type == "cpu" else 4)
    views = items.maker.views.count
    journal.start(rank)
    with progress_bar("caching features", len(items) * BLOCK_IMAGES, shown=show_progress) as advance:
        for block, pixels, skipped in loader:
            arrays = {name: file.stored(array) for name, array in extract(pixels).items()}
            for row in skipped:
                for array in arrays.values():
                    array[row * views : (row + 1) * views] = np.nan
            file.write(block * BLOCK_IMAGES * views, arrays)
            journal.note(rank, block, arrays, skipped)
            advance(BLOCK_IMAGES)


class _Blocks(Dataset):
    """Item = one block: its number, inputs of all views of its images, and those that cannot be read."""

    def __init__(self, source: ImageSource, maker: ViewMaker, hashes: np.ndarray, blocks: list[int]) -> None:
        self.source, self.maker, self.hashes, self.blocks = source, maker, hashes, blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, item: int) -> tuple[int, Tensor, dict[int, str]]:
        block = self.blocks[item]
        first = block * BLOCK_IMAGES
        views = self.maker.views.count
        rows: list[Tensor] = []
        skipped: dict[int, str] = {}
        for offset, index in enumerate(range(first, min(first + BLOCK_IMAGES, len(self.source)))):
            try:
                content = self.source.read_bytes(index)
                self._check_unchanged(index, content)
                image = read_image(content, name=self.source.names[index])
                digest = self.hashes[index].tobytes().hex()
                rows += [self.maker.make(image, digest, view) for view in range(views)]
            except (ImageReadError, ImageSourceError) as error:
                skipped[offset] = str(error)
                rows += [torch.zeros(3, *self.maker.size)] * views
        return block, torch.stack(rows), skipped

    def _check_unchanged(self, index: int, content: bytes) -> None:
        if hashlib.sha256(content).digest() != self.hashes[index].tobytes():
            raise FeatureCacheError(
                f"{self.source.names[index]}: changed while the cache was being built; start the build again"
            )


def _image_hashes(
    source: ImageSource, root: Path, main: bool, accelerator: Accelerator | None, show_progress: bool
) -> np.ndarray:
    """(N, 32) sha256 of each image's bytes, in a memory-mapped file; unreadable files hash to zeros."""
    path = root / f"hashing-{_json_sha256(list(source.names))[:16]}.bin"
    if main:
        root.mkdir(parents=True, exist_ok=True)
        with (
            atomic_path(path) as temporary,
            temporary.open("wb") as file,
            progress_bar("hashing images", len(source), shown=show_progress) as advance,
        ):
            for index in range(len(source)):
                try:
                    file.write(hashlib.sha256(source.read_bytes(index)).digest())
                except ImageSourceError:
                    file.write(bytes(32))
                advance(1)
    if accelerator is not None:
        accelerator.wait_for_everyone()
    return np.memmap(path, dtype=np.uint8, mode="r", shape=(len(source), 32))


def _claim(directory: Path, inputs: dict[str, Any], hashes: np.ndarray, file: CacheFile) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    manifest = directory / "manifest.json"
    if manifest.exists():
        try:
            found = dict(json.loads(manifest.read_bytes()))
        except (ValueError, TypeError):
            raise FeatureCacheError(f"{manifest}: damaged; delete its folder and build it again") from None
        changed = [key for key in inputs if found.get(key) != inputs[key]]
        if changed:
            raise FeatureCacheError(
                f"{manifest}: the cache was made of other inputs ({', '.join(changed)} differ); use another "
                "folder or delete this one"
            )
        file.check_size()
    else:
        file.reserve()
        with atomic_path(directory / "images.bin") as temporary:
            temporary.write_bytes(hashes.tobytes())
        write_text(manifest, json.dumps(inputs, indent=2))


def _open(
    directory: Path, file: CacheFile, journal: BlockJournal, source: ImageSource, views: Views
) -> ViewCache:
    file.check_size()
    done = journal.finished()
    missing = _block_count(len(source)) - len(done)
    if missing:
        raise FeatureCacheError(
            f"{directory}: {missing} blocks are missing or altered; run the same command again"
        )
    readable = np.ones(len(source), dtype=bool)
    skipped = {}
    for block, rows in done.items():
        for row, reason in rows.items():
            index = block * BLOCK_IMAGES + int(row)
            readable[index] = False
            skipped[source.names[index]] = reason
    arrays = {name: file.read(name).reshape(len(source), views.count, -1) for name in file.widths}
    return ViewCache(arrays, readable, skipped, views, directory)


@contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    """The system's errors while writing, such as a full disk, as `FeatureCacheError`."""
    try:
        yield
    except OSError as error:
        raise FeatureCacheError(
            f"{error.filename or directory}: cannot be written or read ({error.strerror}); free some space "
            "or set HUB_MODELS_CACHE to a larger disk. What was finished is kept"
        ) from error


def _block_count(images: int) -> int:
    return -(-images // BLOCK_IMAGES)


def _json_sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
