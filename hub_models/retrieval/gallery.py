"""A gallery: embeddings of a set of images with all that a safe search needs to know about each.

On disk a folder of

    gallery.safetensors   ``embeddings`` (N, D) of unit length, ``uncertainty``, ``percentile``, ``entropy``
    and
                          ``uncertainties.<read-out>``, (N, 1) each, float32
    gallery.json          names, labels, the model they were made by, sha256 of gallery.safetensors and of
    itself

`hub_models.retrieval.building.build_gallery` makes one. The index is built anew from the embeddings each time
it is needed: index files of faiss are not safe to open from others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import BaseImageProcessor

from ..atomic import file_sha256, write_text
from ..checkpoint_folder import tensors_sha256
from ..errors import FeatureCacheError, GalleryError, ImageSourceError
from ..image_sources import require_unique
from ..prediction import ImageModel
from ..training.cache_file import CacheFile
from .index import Index, IndexKind

TENSORS, DOCUMENT = "gallery.safetensors", "gallery.json"
FORMAT = 1
READ_OUT = "uncertainties."
CHUNK = 4096
#: What of a configuration changes embeddings or uncertainties, beside the tensors.
CONFIG_FIELDS = (
    "backbone",
    "backbone_kwargs",
    "num_classes",
    "stage_indices",
    "read_outs",
    "default_weights",
    "dim",
    "concentration_from",
    "concentration_scale",
)


@dataclass(frozen=True, eq=False)
class Gallery:
    """Images that answer queries.

    Attributes:
        names: unique, one for each of the N images.
        embeddings: (N, D) float32 of unit length, the mean directions of a probabilistic embedding; memory-mapped
            where the gallery was opened from disk.
        uncertainty: (N,) the model's default read-out, higher = less certain.
        percentiles: (N,) share of the model's reference images that are more certain; None without a
            reference.
        entropy: (N,) of the class probabilities in nats; None without a classifier.
        uncertainties: every named read-out, (N,) each.
        labels: (N,) class numbers, or None.
        class_names: name of each class number, or None.
        model: name of the model behind all this.
        model_sha256: its `model_identity`.
        kind: of the index that was chosen for it.
        recall: measured recall@10 of that index against exact search; 1 for the exact one.
        skipped: name of each image that could not be read -> why.

    Raises:
        GalleryError: no image, names that repeat, arrays that do not fit, NaN or infinity; names the image.
    """

    names: Sequence[str]
    embeddings: np.ndarray
    uncertainty: np.ndarray
    percentiles: np.ndarray | None = None
    entropy: np.ndarray | None = None
    uncertainties: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    class_names: Sequence[str] | None = None
    model: str = ""
    model_sha256: str = ""
    kind: IndexKind = "exact"
    recall: float = 1.0
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.names:
            raise GalleryError("a gallery needs at least one image")
        try:
            require_unique(self.names, "the gallery")
        except ImageSourceError as error:
            raise GalleryError(str(error)) from None
        for column, values in self._columns().items():
            if len(values) != len(self.names):
                raise GalleryError(
                    f"{column}: {len(values)} rows for {len(self.names)} names; build the gallery again"
                )
            _require_finite(column, values, self.names)
        if self.labels is not None and self.class_names is not None:
            unnamed = (self.labels < 0) | (self.labels >= len(self.class_names))
            if unnamed.any():
                raise GalleryError(
                    f"{self.names[int(unnamed.argmax())]}: its label has no class name; correct it"
                )

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def open(cls, directory: str | Path) -> Gallery:
        """Open a finished gallery after its checksums and all its numbers were checked.

        Raises:
            GalleryError: it is missing, unfinished, altered or damaged; names the file or image.
        """
        tensors = Path(directory) / TENSORS
        document = read_document(Path(directory))
        file = CacheFile(tensors, document["widths"], len(document["names"]))
        try:
            file.check_size()
        except FeatureCacheError as error:
            raise GalleryError(
                f"{tensors}: missing or cut short; delete the folder and build it again"
            ) from error
        if file_sha256(tensors) != document["tensors_sha256"]:
            raise GalleryError(
                f"{tensors}: altered or damaged (its sha256 differs); delete the folder and build it again"
            )
        scores = {name: file.read(name)[:, 0] for name in document["widths"] if name != "embeddings"}
        labels = document["labels"]
        return cls(
            names=document["names"],
            embeddings=file.read("embeddings"),
            uncertainty=scores["uncertainty"],
            percentiles=scores.get("percentile"),
            entropy=scores.get("entropy"),
            uncertainties={
                name.removeprefix(READ_OUT): values
                for name, values in scores.items()
                if name.startswith(READ_OUT)
            },
            labels=None if labels is None else np.asarray(labels, dtype=np.int64),
            class_names=document["class_names"],
            model=document["model"],
            model_sha256=document["inputs"]["model_sha256"],
            kind=document["kind"],
            recall=document["recall"],
            skipped=document["skipped"],
        )

    def index(self) -> Index:
        """The index that was chosen for the gallery, built from its embeddings."""
        return Index(self.embeddings, self.kind)

    def class_name(self, item: int) -> str | None:
        """The class of an image in words, or None without labels."""
        if self.labels is None:
            return None
        label = int(self.labels[item])
        return str(label) if self.class_names is None else self.class_names[label]

    def require_model(self, model: ImageModel, processor: BaseImageProcessor) -> None:
        """Raise ``GalleryError`` if the gallery was made by another model, reference or preprocessing."""
        if model_identity(model, processor) != self.model_sha256:
            raise GalleryError(
                f"the gallery was made by model {self.model!r} with other weights, reference or "
                "preprocessing, so nothing in it compares; use that model, or index again (hub-models index)"
            )

    def _columns(self) -> dict[str, np.ndarray]:
        columns = {
            "embeddings": self.embeddings,
            "uncertainty": self.uncertainty,
            "percentiles": self.percentiles,
            "entropy": self.entropy,
            "labels": self.labels,
            **self.uncertainties,
        }
        return {name: values for name, values in columns.items() if values is not None}


def model_identity(model: ImageModel, processor: BaseImageProcessor) -> str:
    """sha256 of all that embeddings and uncertainties depend on: tensors, structure, preprocessing."""
    structure = {name: getattr(model.config, name) for name in CONFIG_FIELDS if hasattr(model.config, name)}
    described = json.dumps([structure, processor.to_dict()], sort_keys=True, default=str)
    return hashlib.sha256(f"{tensors_sha256(model.state_dict())}{described}".encode()).hexdigest()


def read_document(directory: Path) -> dict[str, Any]:
    """gallery.json of a finished gallery.

    Raises:
        GalleryError: it is missing, altered or of another format.
    """
    path = directory / DOCUMENT
    if not path.is_file():
        raise GalleryError(
            f"{path}: missing, so there is no finished gallery; run `hub-models index` to build it"
        )
    try:
        document = dict(json.loads(path.read_text(encoding="utf-8")))
        checksum = document.pop("sha256", None)
    except (OSError, ValueError, TypeError) as error:
        raise GalleryError(
            f"{path}: damaged ({error}); delete the folder and build the gallery again"
        ) from error
    if checksum != _document_sha256(document):
        raise GalleryError(
            f"{path}: altered or damaged (its sha256 differs); delete the folder and build it again"
        )
    if document["format"] != FORMAT:
        raise GalleryError(
            f"{path}: has format {document['format']}, not {FORMAT}; build it again with this version"
        )
    return document


def write_document(directory: Path, document: Mapping[str, Any]) -> None:
    """Write gallery.json with its own checksum, in one step."""
    complete = {**document, "format": FORMAT}
    complete["sha256"] = _document_sha256(complete)
    write_text(directory / DOCUMENT, json.dumps(complete, indent=1) + "\n")


def _document_sha256(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _require_finite(column: str, values: np.ndarray, names: Sequence[str]) -> None:
    """In chunks, so that a memory-mapped column is never held whole."""
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        finite = np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)
        if not finite.all():
            name = names[start + int((~finite).argmax())]
            raise GalleryError(
                f"{name}: {column} holds NaN or infinity; drop the image or build the gallery again"
            )
