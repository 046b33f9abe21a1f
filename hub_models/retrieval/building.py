"""Build a gallery: streamed, and resumable after a kill at any moment.

While it is built, its folder holds

    building.json          what it is made of: model, images, their hash
    building.safetensors   a row for each image read so far, its space reserved up front
    journal.jsonl          a line for each finished block, with the hash of its rows

A block is written first and noted after, so a kill loses at most one block. gallery.json is written last of
all.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from transformers import BaseImageProcessor

from ..atomic import file_sha256, write_text
from ..errors import GalleryError, ImageSourceError
from ..image_sources import ImageSource, require_unique
from ..locking import only_process
from ..modeling_image_uncertainty import ImageUncertaintyModel
from ..prediction import Prediction, Skipped, predict
from ..progress import progress_bar
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
CLAIM, ROWS, JOURNAL = "building.json", "building.safetensors", "journal.jsonl"


def build_gallery(
    model: ImageUncertaintyModel,
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
        for name in (CLAIM, ROWS, JOURNAL):
            (directory / name).unlink(missing_ok=True)
        _choose_index(directory, kind)
    return Gallery.open(directory)


@dataclass(frozen=True)
class _Build:
    model: ImageUncertaintyModel
    processor: BaseImageProcessor
    source: ImageSource
    directory: Path
    inputs: dict[str, Any]
    model_name: str

    def run(self, show_progress: bool) -> None:
        file = CacheFile(self.directory / ROWS, _widths(self.model), len(self.source))
        self._claim(file)
        skipped, done = self._finished(file)
        stream = predict(
            self.model, self.processor, self.source, start=min(done * BLOCK_IMAGES, len(self.source))
        )
        with progress_bar("indexing", len(self.source) - done * BLOCK_IMAGES, shown=show_progress) as advance:
            for block in count(done):
                items = list(islice(stream, BLOCK_IMAGES))
                if not items:
                    break
                rows = _rows([item for item in items if isinstance(item, Prediction)], file.widths)
                failed = {item.name: item.reason for item in items if isinstance(item, Skipped)}
                file.write(block * BLOCK_IMAGES - len(skipped), rows)
                self._note({"block": block, "sha256": _sha256(rows), "skipped": failed})
                skipped |= failed
                advance(len(items))
        self._finish(file, skipped)

    def _claim(self, file: CacheFile) -> None:
        claim = self.directory / CLAIM
        if not claim.exists():
            file.reserve()
            write_text(claim, json.dumps(self.inputs, indent=2))
        _require_same(claim, json.loads(claim.read_text(encoding="utf-8")), self.inputs)
        file.check_size()

    def _note(self, entry: dict[str, Any]) -> None:
        with (self.directory / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(entry) + "\n")

    def _finished(self, file: CacheFile) -> tuple[dict[str, str], int]:
        """The images skipped so far, and the number of first blocks that are on disk as the journal says."""
        journal = self.directory / JOURNAL
        lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
        columns = {name: file.read(name) for name in file.widths}
        skipped: dict[str, str] = {}
        done = 0
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                break  # cut short by a kill
            first = done * BLOCK_IMAGES - len(skipped)
            last = min((done + 1) * BLOCK_IMAGES, len(self.source)) - len(skipped) - len(entry["skipped"])
            if entry["block"] != done or entry["sha256"] != _sha256(
                {n: c[first:last] for n, c in columns.items()}
            ):
                break
            skipped |= entry["skipped"]
            done += 1
        write_text(journal, "".join(f"{line}\n" for line in lines[:done]))
        return skipped, done

    def _finish(self, file: CacheFile, skipped: dict[str, str]) -> None:
        """Copy the rows in use to a file of just that size, and name them."""
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
        for start in range(0, len(kept), CHUNK):
            stop = min(start + CHUNK, len(kept))
            final.write(start, {name: file.read(name)[start:stop] for name in file.widths})
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


def _widths(model: ImageUncertaintyModel) -> dict[str, int]:
    width = getattr(model.backbone, "head_hidden_size", None) or model.backbone.num_features
    widths = {"embeddings": width, "uncertainty": 1}
    if model.config.reference_size:
        widths["percentile"] = 1
    if model.config.num_classes:
        widths["entropy"] = 1
    return widths | {f"{READ_OUT}{name}": 1 for name in model.config.read_outs}


def _rows(predictions: list[Prediction], widths: dict[str, int]) -> dict[str, np.ndarray]:
    """The columns of a block, (rows, width) each."""
    columns: dict[str, list[Any]] = {
        "embeddings": [p.embedding for p in predictions],
        "uncertainty": [p.uncertainty for p in predictions],
        "percentile": [p.percentile for p in predictions],
        "entropy": [p.entropy for p in predictions],
    }
    for name in widths:
        if name.startswith(READ_OUT):
            columns[name] = [p.uncertainties[name.removeprefix(READ_OUT)] for p in predictions]
    rows = {
        name: np.asarray(columns[name], dtype=np.float32).reshape(len(predictions), width)
        for name, width in widths.items()
    }
    return rows | {"embeddings": normalised(rows["embeddings"])}


def _sha256(rows: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(rows):
        digest.update(np.ascontiguousarray(rows[name], dtype="<f4").tobytes())
    return digest.hexdigest()


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
