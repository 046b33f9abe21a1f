"""Build a gallery: streamed, and resumable after a kill at any moment.

While it is built, its folder holds

    building.json          what it is made of: model, images, their hash
    building.safetensors   a row for each image, NaN where it cannot be read; its space is reserved up front
    done-0.jsonl           the journal of finished blocks, `hub_models.training.block_journal`

gallery.json is written last of all.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import BaseImageProcessor

from ..atomic import file_sha256, write_text
from ..errors import GalleryError, ImageSourceError
from ..image_sources import ImageSource, require_unique
from ..locking import only_process
from ..modeling_probabilistic_embedding import ProbabilisticEmbeddingModel
from ..prediction import ImageModel, Prediction, Skipped, predict
from ..progress import progress_bar
from ..training.block_journal import BlockJournal
from ..training.cache_file import CacheFile
from .gallery import (
    CHUNK,
    DOCUMENT,
    READ_OUT,
    TENSORS,
    Gallery,
    model_identity,
    read_document,
    write_document,
)
from .index import Index, IndexKind, normalised

BLOCK_IMAGES = 64
CLAIM, ROWS = "building.json", "building.safetensors"


def build_gallery(
    model: ImageModel,
    processor: BaseImageProcessor,
    source: ImageSource,
    directory: str | Path,
    *,
    model_name: str,
    kind: IndexKind = "exact",
    show_progress: bool = True,
) -> Gallery:
    """Build, continue or just open the gallery of ``source`` in ``directory``.

    Memory does not grow with the number of images, except for their names. Unreadable images are skipped and
    listed.

    Args:
        model_name: how the model is called in the gallery.
        kind: of the index; the recall of an approximate one is measured here and stored.

    Raises:
        GalleryError: the folder holds a gallery of other images or of another model, no image can be read, or
            another process is building it.
        ImageSourceError: names of the source repeat.
        FeatureCacheError: no space, or the unfinished file was cut short.
        PredictionError: the model gives NaN or infinity for an image.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    require_unique(source.names, "the set of images")
    inputs = {
        "model_sha256": model_identity(model, processor),
        "images": len(source),
        "images_sha256": _source_sha256(source, show_progress),
    }
    busy = GalleryError(f"{directory}: another process is building this gallery; wait for it")
    with only_process(directory / "lock", busy):
        if not (directory / DOCUMENT).exists():
            _Build(model, processor, source, directory, inputs, model_name).run(show_progress)
        else:
            _require_same(directory / DOCUMENT, read_document(directory)["inputs"], inputs)
        for path in (directory / CLAIM, directory / ROWS, *directory.glob("done-*.jsonl")):
            path.unlink(missing_ok=True)
        _choose_index(directory, kind)
    return Gallery.open(directory)


@dataclass(frozen=True)
class _Build:
    model: ImageModel
    processor: BaseImageProcessor
    source: ImageSource
    directory: Path
    inputs: dict[str, Any]
    model_name: str

    def run(self, show_progress: bool) -> None:
        count = len(self.source)
        file = CacheFile(self.directory / ROWS, _widths(self.model), count)
        self._claim(file)
        journal = BlockJournal(self.directory, file, BLOCK_IMAGES)
        journal.start(rank=0)
        finished = journal.finished()
        first = next(block for block in itertools.count() if block not in finished)
        start = min(first * BLOCK_IMAGES, count)
        stream = predict(self.model, self.processor, self.source, start=start)
        with progress_bar("indexing", count - start, shown=show_progress) as advance:
            for block in itertools.count(first):
                items = list(itertools.islice(stream, BLOCK_IMAGES))
                if not items:
                    break
                rows = _rows(items, file.widths)
                file.write(block * BLOCK_IMAGES, rows)
                skipped = {row: item.reason for row, item in enumerate(items) if isinstance(item, Skipped)}
                journal.note(0, block, rows, skipped)
                advance(len(items))
        reasons = {
            self.source.names[block * BLOCK_IMAGES + int(row)]: reason
            for block, skipped_rows in sorted(journal.finished().items())
            for row, reason in skipped_rows.items()
        }
        self._finish(file, reasons)

    def _claim(self, file: CacheFile) -> None:
        claim = self.directory / CLAIM
        if not claim.exists():
            file.reserve()
            write_text(claim, json.dumps(self.inputs, indent=2))
        _require_same(claim, json.loads(claim.read_text(encoding="utf-8")), self.inputs)
        file.check_size()

    def _finish(self, file: CacheFile, skipped: dict[str, str]) -> None:
        """Copy the rows of readable images to a file of just that size, and name them."""
        kept = [index for index, name in enumerate(self.source.names) if name not in skipped]
        if not kept:
            raise GalleryError(
                f"{self.directory}: none of the {len(self.source)} images can be read, so no gallery; "
                f"the first: {next(iter(skipped.values()))}"
            )
        tensors = self.directory / TENSORS
        tensors.unlink(missing_ok=True)  # left by a kill during this very step
        final = CacheFile(tensors, file.widths, len(kept))
        final.reserve()
        columns = {name: file.read(name) for name in file.widths}
        for start in range(0, len(kept), CHUNK):
            part = kept[start : start + CHUNK]
            final.write(start, {name: column[part] for name, column in columns.items()})
        labels, class_names = self.source.labels, self.source.class_names
        document = {
            "inputs": self.inputs,
            "model": self.model_name,
            "names": [self.source.names[index] for index in kept],
            "labels": None if labels is None else [int(labels[index]) for index in kept],
            "class_names": None if class_names is None else list(class_names),
            "skipped": skipped,
            "widths": file.widths,
            "tensors_sha256": file_sha256(tensors),
            "kind": "exact",
            "recall": 1.0,
        }
        write_document(self.directory, document)


def _choose_index(directory: Path, kind: IndexKind) -> None:
    document = read_document(directory)
    if document["kind"] != kind:
        recall = Index(Gallery.open(directory).embeddings, kind).recall()
        write_document(directory, document | {"kind": kind, "recall": recall})


def _require_same(path: Path, found: dict[str, Any], inputs: dict[str, Any]) -> None:
    changed = [key for key in inputs if found.get(key) != inputs[key]]
    if changed:
        raise GalleryError(
            f"{path}: the gallery is of other inputs ({', '.join(changed)} differ); use another folder or "
            "delete this one"
        )


def _widths(model: ImageModel) -> dict[str, int]:
    if isinstance(model, ProbabilisticEmbeddingModel):
        return {"embeddings": model.config.dim, "uncertainty": 1}
    width = getattr(model.backbone, "head_hidden_size", None) or model.backbone.num_features
    widths = {"embeddings": width, "uncertainty": 1}
    if model.config.reference_size:
        widths["percentile"] = 1
    if model.config.num_classes:
        widths["entropy"] = 1
    return widths | {f"{READ_OUT}{name}": 1 for name in model.config.read_outs}


def _rows(items: list[Prediction | Skipped], widths: dict[str, int]) -> dict[str, np.ndarray]:
    """The columns of a block, (images, width) each, NaN where an image was skipped."""
    rows = {name: np.full((len(items), width), np.nan, dtype=np.float32) for name, width in widths.items()}
    for row, item in enumerate(items):
        if isinstance(item, Prediction):
            for name, column in rows.items():
                column[row] = _value(item, name)
    return rows


def _value(prediction: Prediction, column: str) -> Any:
    if column == "embeddings":
        return normalised(prediction.embedding[None])[0]
    if column.startswith(READ_OUT):
        return prediction.uncertainties[column.removeprefix(READ_OUT)]
    return getattr(prediction, column)


def _source_sha256(source: ImageSource, show_progress: bool) -> str:
    """Of names, labels and contents: a changed image makes another gallery. Unreadable ones are zeros."""
    digest = hashlib.sha256(json.dumps([list(source.names), source.class_names], default=str).encode())
    with progress_bar("hashing images", len(source), shown=show_progress) as advance:
        for index in range(len(source)):
            try:
                digest.update(hashlib.sha256(source.read_bytes(index)).digest())
            except ImageSourceError:
                digest.update(bytes(32))
            if source.labels is not None:
                digest.update(f"{source.labels[index]};".encode())
            advance(1)
    return digest.hexdigest()
