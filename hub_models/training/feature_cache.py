"""Run the frozen backbone once over every view of every image, and keep the features.

This is what makes head training cheap (Pretrained Visual Uncertainties, section 4). A cache is a folder:

    manifest.json         what it was made of: hashes of weights, preprocessing, views and images
    images.bin            sha256 of every image, 32 bytes each, in order
    features.safetensors  ``pooled`` and ``stages``, (images x views) rows, memory-mapped
    done-<rank>.jsonl     a line for each finished block, with the hash of its rows

It is addressed by its content, so a changed image, weight or view makes another cache. A block is written first and
noted after: a kill at any moment loses at most one block and never counts one twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..atomic import atomic_path, write_text
from ..backbones import frozen_graph
from ..errors import FeatureCacheError, ImageReadError, ImageSourceError
from ..image_reading import read_image
from ..image_sources import ImageSource
from ..modeling_image_uncertainty import ImageUncertaintyModel
from ..progress import progress_bar
from .cache_file import CacheFile
from .views import ViewMaker, Views

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import BaseImageProcessor

BLOCK_IMAGES = 16
FORMAT = 2


@dataclass(frozen=True)
class FeatureCache:
    """A finished cache, read from disk on demand.

    Attributes:
        pooled: (N, V, D) pre-logits, memory-mapped; view 0 is the whole image.
        stages: (N, V, S) stage statistics, memory-mapped.
        readable: (N,) False where an image could not be decoded; its features are NaN.
        skipped: name of each such image and why.
        views: what the V views are.
        directory: where it lies.
    """

    pooled: np.ndarray
    stages: np.ndarray
    readable: np.ndarray
    skipped: dict[str, str]
    views: Views
    directory: Path


def build_feature_cache(
    model: ImageUncertaintyModel,
    processor: BaseImageProcessor,
    source: ImageSource,
    views: Views,
    root: Path,
    *,
    directory: Path | None = None,
    accelerator: Accelerator | None = None,
    show_progress: bool = True,
) -> FeatureCache:
    """Build, continue or just open the cache of ``source`` under ``root``.

    Args:
        model: its backbone makes the features; heads are not used.
        root: the cache goes to ``root / <first 16 digits of the content hash>``.
        directory: use exactly this folder instead, and refuse it if it was made of other inputs.
        accelerator: splits the blocks over processes; every process returns the same cache.

    Raises:
        FeatureCacheError: no space, a cut or altered cache, other inputs than the folder was made of, or another
            process is building it.
    """
    main = accelerator is None or accelerator.is_main_process
    hashes = _image_hashes(source, root, main, accelerator, show_progress)
    inputs = {
        "format": FORMAT,
        "backbone": model.config.backbone,
        "backbone_sha256": module_sha256(model.backbone),
        "stages": list(model.stages),
        "processor_sha256": _json_sha256(processor.to_dict()),
        "views": asdict(views),
        "images": len(source),
        "images_sha256": hashlib.sha256(hashes).hexdigest(),
    }
    directory = directory or root / _json_sha256(inputs)[:16]
    widths = _feature_widths(model, processor)
    file = CacheFile(directory / "features.safetensors", widths, rows=len(source) * views.count)
    if main:
        _claim(directory, inputs, hashes, file)
    if accelerator is not None:
        accelerator.wait_for_everyone()
    rank, ranks = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    with _locked(directory / f"lock-{rank}"):
        done = _finished_blocks(directory, file, views)
        blocks = [b for b in range(_block_count(len(source))) if b not in done][rank::ranks]
        if blocks:
            device = accelerator.device if accelerator is not None else torch.device("cpu")
            maker = ViewMaker(processor, views)
            _fill(
                model,
                maker,
                source,
                hashes,
                blocks,
                file,
                directory / f"done-{rank}.jsonl",
                device,
                show_progress,
            )
    if accelerator is not None:
        accelerator.wait_for_everyone()
    return _open(directory, file, source, views)


def _fill(
    model: ImageUncertaintyModel,
    maker: ViewMaker,
    source: ImageSource,
    hashes: np.ndarray,
    blocks: list[int],
    file: CacheFile,
    journal: Path,
    device: torch.device,
    show_progress: bool,
) -> None:
    loader = DataLoader(
        _Blocks(source, maker, hashes, blocks), batch_size=None, num_workers=0 if device.type == "cpu" else 4
    )
    extract = _FeatureGraph(model, device)
    with progress_bar("caching features", len(blocks) * BLOCK_IMAGES, shown=show_progress) as advance:
        for block, pixels, skipped in loader:
            arrays = extract(pixels)
            for row in skipped:
                for array in arrays.values():
                    array[row * maker.views.count : (row + 1) * maker.views.count] = np.nan
            file.write(block * BLOCK_IMAGES * maker.views.count, arrays)
            line = {"block": block, "sha256": _rows_sha256(arrays), "skipped": skipped}
            with journal.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
                log.flush()
            advance(BLOCK_IMAGES)


class _Blocks(Dataset):
    """Item = one block: its number, the inputs of all views of its images, and the images that cannot be read."""

    def __init__(self, source: ImageSource, maker: ViewMaker, hashes: np.ndarray, blocks: list[int]) -> None:
        self.source, self.maker, self.hashes, self.blocks = source, maker, hashes, blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, item: int) -> tuple[int, Tensor, dict[int, str]]:
        block = self.blocks[item]
        first = block * BLOCK_IMAGES
        views = self.maker.views.count
        rows: list[Tensor | None] = []
        skipped: dict[int, str] = {}
        for offset, index in enumerate(range(first, min(first + BLOCK_IMAGES, len(self.source)))):
            try:
                content = self.source.read_bytes(index)
                self._check_unchanged(index, content)
                image = read_image(content, name=self.source.names[index])
                rows += [
                    self.maker.make(image, self.hashes[index].tobytes().hex(), view) for view in range(views)
                ]
            except (ImageReadError, ImageSourceError) as error:
                skipped[offset] = str(error)
                rows += [None] * views
        shape = next((row.shape for row in rows if row is not None), (3, 32, 32))
        return block, torch.stack([torch.zeros(shape) if row is None else row for row in rows]), skipped

    def _check_unchanged(self, index: int, content: bytes) -> None:
        if hashlib.sha256(content).digest() != self.hashes[index].tobytes():
            raise FeatureCacheError(
                f"{self.source.names[index]}: changed while the cache was being built; start the build again"
            )


class _FeatureGraph:
    """The backbone as a frozen graph, run over small batches whose make-up depends on the block alone."""

    def __init__(self, model: ImageUncertaintyModel, device: torch.device) -> None:
        self.device = device
        # Small batches keep activations in the processor's cache: 16 is 2.5 times faster than 128 on two cores.
        self.batch = 16 if device.type == "cpu" else 256
        self._module = _PooledAndStages(model).eval().to(device, memory_format=torch.channels_last)
        self._graph: Any = None

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> dict[str, np.ndarray]:
        parts = []
        for batch in pixels.split(self.batch):
            batch = batch.to(self.device, memory_format=torch.channels_last)
            if self._graph is None:
                self._graph = frozen_graph(self._module, batch)
            parts.append([part.float().cpu() for part in self._graph(batch)])
        pooled, stages = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
        return {"pooled": pooled, "stages": stages}


class _PooledAndStages(nn.Module):
    def __init__(self, model: ImageUncertaintyModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.extract(pixel_values)
        return features.pooled, features.stages


def module_sha256(module: nn.Module) -> str:
    """Hash of every tensor of a module's state, names included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _feature_widths(model: ImageUncertaintyModel, processor: BaseImageProcessor) -> dict[str, int]:
    size = getattr(processor, "crop_size", None) or processor.size
    with torch.inference_mode():
        probe = torch.zeros(1, 3, size["height"], size["width"], device=model.device)
        features = model.extract(probe)
    return {"pooled": features.pooled.shape[1], "stages": features.stages.shape[1]}


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
        found = json.loads(manifest.read_text(encoding="utf-8"))
        changed = [key for key in inputs if found.get(key) != inputs[key]]
        if changed:
            raise FeatureCacheError(
                f"{manifest}: the cache was made of other inputs ({', '.join(changed)} differ); use another folder or "
                "delete this one"
            )
        file.check_size()
    else:
        file.reserve()
        with atomic_path(directory / "images.bin") as temporary:
            temporary.write_bytes(hashes.tobytes())
        write_text(manifest, json.dumps(inputs, indent=2))


def _finished_blocks(directory: Path, file: CacheFile, views: Views) -> dict[int, dict[str, str]]:
    """Blocks whose rows are on disk exactly as the journal says -> {row of an unreadable image: why}."""
    rows = BLOCK_IMAGES * views.count
    arrays = {name: file.read(name) for name in file.widths}
    done: dict[int, dict[str, str]] = {}
    for journal in sorted(directory.glob("done-*.jsonl")):
        for line in journal.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line that a kill cut short: its block is done again
            first = entry["block"] * rows
            written = {name: array[first : first + rows] for name, array in arrays.items()}
            if _rows_sha256(written) == entry["sha256"]:
                done[entry["block"]] = entry["skipped"]
    return done


def _open(directory: Path, file: CacheFile, source: ImageSource, views: Views) -> FeatureCache:
    file.check_size()
    done = _finished_blocks(directory, file, views)
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
    shape = (len(source), views.count, -1)
    pooled, stages = (file.read(name).reshape(shape) for name in ("pooled", "stages"))
    return FeatureCache(pooled, stages, readable, skipped, views, directory)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FeatureCacheError(
                f"{path.parent}: another process is building this cache; wait for it"
            ) from None
        yield


def _block_count(images: int) -> int:
    return -(-images // BLOCK_IMAGES)


def _rows_sha256(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name], dtype="<f4").tobytes())
    return digest.hexdigest()


def _json_sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
