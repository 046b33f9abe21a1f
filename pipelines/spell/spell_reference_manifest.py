"""What a set of references says about itself: which model it was made for, its shards, what was removed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .spell_errors import ReferencesError

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Origin:
    """What turned images into references; two sets of different origin cannot be compared.

    Attributes:
        model: class of the VAE, "pixels" for a model without one, "given latents" where nothing is known.
        weights: sha256 of the VAE's weights by floating-point type, empty without a VAE.
        sample_shape: shape of one reference, the model's own sample shape.
        resolution: (height, width) of the encoded images, None where nothing is known.
        preprocessing: how an image became the encoder's input.
        views: of each image, one reference each: "whole", "flip", "crop 0.1", "crop 0.1 flip" ...
    """

    model: str
    weights: dict[str, str]
    sample_shape: tuple[int, ...]
    resolution: tuple[int, int] | None
    preprocessing: str
    views: tuple[str, ...] = ("whole",)

    def told(self) -> str:
        """For messages: the model, the first digits of its hash, the resolution or the shape."""
        known = "float32" if "float32" in self.weights else next(iter(self.weights), None)
        weights = f" {self.weights[known][:12]} ({known})" if known else ""
        size = "x".join(map(str, self.resolution or self.sample_shape))
        return f"{self.model}{weights} at {size}"


@dataclass(frozen=True)
class Shard:
    """One file of references.

    Attributes:
        name: without its suffix.
        items: number of images; each has as many consecutive rows as the set has views.
        sha256: of the file with the rows of removed items read as zeros.
        removed: items that protect nothing any more, ascending.
    """

    name: str
    items: int
    sha256: str
    removed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """The whole set: its origin and its shards, in the order of the reference numbers."""

    origin: Origin
    shards: tuple[Shard, ...]


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that a reader never sees half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step."""
    write_bytes(path, json.dumps(value, indent=1).encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ReferencesError: it is not there or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReferencesError(
            f"{path}: cannot be read ({error}); build the set again or fetch a whole copy"
        ) from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put the manifest in place; with it the set changes in one step."""
    write_json(folder / MANIFEST, {"format": FORMAT, **asdict(manifest)})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a finished set.

    Raises:
        ReferencesError: no set, an unfinished one, or one of another format.
    """
    if not (folder / MANIFEST).is_file():
        unfinished = any(folder.glob("shard-*"))
        raise ReferencesError(
            f"{folder}: an unfinished set of references; run the same ReferenceSet.build again to go on"
            if unfinished
            else f"{folder}: holds no set of references; make one with ReferenceSet.build(..., folder=...)"
        )
    content = read_json(folder / MANIFEST)
    try:
        if content["format"] != FORMAT:
            raise ReferencesError(
                f"{folder}: its format is {content['format']}, this version reads {FORMAT}; build the set again"
            )
        shards = tuple(Shard(**shard | {"removed": tuple(shard["removed"])}) for shard in content["shards"])
        return Manifest(read_origin(content["origin"]), shards)
    except (KeyError, TypeError) as error:
        raise ReferencesError(
            f"{folder / MANIFEST}: not a manifest of references ({error!r}); build the set again"
        ) from error


def read_origin(content: dict[str, Any]) -> Origin:
    """An origin from its JSON form."""
    resolution = content["resolution"]
    return Origin(
        **content
        | {
            "sample_shape": tuple(content["sample_shape"]),
            "resolution": None if resolution is None else (resolution[0], resolution[1]),
            "views": tuple(content["views"]),
        }
    )


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder for writing; the system lets go of it when the process ends, however it ends.

    Raises:
        ReferencesError: another process is writing.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ReferencesError(f"{folder}: another process is changing this set; wait for it") from None
        yield
