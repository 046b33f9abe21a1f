"""Sets of images that are read one at a time: a folder, a tar archive, or a `datasets` data set.

Only names (and labels) are held in memory, never pixels, so memory does not grow with what the images weigh.
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from .errors import ImageSourceError
from .image_reading import FORMATS, read_image

IMAGE_SUFFIXES = frozenset(end for end, kind in Image.registered_extensions().items() if kind in FORMATS)


class ImageSource(Protocol):
    """A numbered set of images, each with a unique name and perhaps a label."""

    @property
    def names(self) -> Sequence[str]:
        """A name for each image."""
        ...

    @property
    def labels(self) -> Sequence[int] | None:
        """A class number for each image."""
        ...

    @property
    def class_names(self) -> Sequence[str] | None:
        """A name for each class number."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def read_bytes(self, index: int) -> bytes:
        """The encoded image file, byte for byte.

        Raises:
            ImageSourceError: it cannot be read.
        """
        ...


def read_source_image(source: ImageSource, index: int) -> Image.Image:
    """Decode image ``index`` to upright RGB; errors carry the image's name."""
    return read_image(source.read_bytes(index), name=source.names[index])


class FolderSource:
    """Images below a folder, in sorted order.

    Where every image lies in a sub-folder, the topmost one is its class.

    Raises:
        ImageSourceError: the folder does not exist or holds no image.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise ImageSourceError(f"{self.root}: no such folder; pass a folder of images")
        paths = sorted(p for p in self.root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not paths:
            raise ImageSourceError(f"{self.root}: holds no image file (such as .jpg, .png or .webp)")
        self.names = [p.relative_to(self.root).as_posix() for p in paths]
        self.labels, self.class_names = _classes_from_folders(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def read_bytes(self, index: int) -> bytes:
        """The file's bytes."""
        return _read_file(self.root / self.names[index])


class FileListSource:
    """Images given one by one.

    Raises:
        ImageSourceError: the list is empty or names a file twice.
    """

    labels = None
    class_names = None

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self.names = [str(p) for p in paths]
        if not self.names:
            raise ImageSourceError("no image given; pass paths or a folder")
        require_unique(self.names, "the list of images")

    def __len__(self) -> int:
        return len(self.names)

    def read_bytes(self, index: int) -> bytes:
        """The file's bytes."""
        return _read_file(Path(self.names[index]))


class TarSource:
    """Images inside an uncompressed tar archive, read in place; classes as in `FolderSource`.

    Raises:
        ImageSourceError: the archive cannot be opened, holds no image, or holds a name twice.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with tarfile.open(self.path, "r:") as archive:
                members = sorted(
                    (member.name.removeprefix("./"), member.offset_data, member.size)
                    for member in archive
                    if member.isfile() and Path(member.name).suffix.lower() in IMAGE_SUFFIXES
                )
        except (OSError, tarfile.TarError) as error:
            raise ImageSourceError(
                f"{self.path}: not a readable, uncompressed tar ({error}); unpack it and pass the folder"
            ) from error
        if not members:
            raise ImageSourceError(f"{self.path}: holds no image file (such as .jpg, .png or .webp)")
        self.names = [name for name, _, _ in members]
        require_unique(self.names, str(self.path))
        self._extents = [(offset, size) for _, offset, size in members]
        self.labels, self.class_names = _classes_from_folders(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def read_bytes(self, index: int) -> bytes:
        """The member's bytes. The file is opened anew each time, which keeps the source safe to fork."""
        offset, size = self._extents[index]
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                content = file.read(size)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if len(content) < size:
            raise ImageSourceError(f"{self.path}: ends inside {self.names[index]}; fetch the archive again")
        return content


class DatasetSource:
    """A `datasets` data set with an image column (and perhaps labels), left encoded and memory-mapped.

    Args:
        dataset: a map-style ``datasets.Dataset``.
        image_column, label_column, name_column: columns to use; a missing label column means no labels, a
            missing name column means names are row numbers.

    Raises:
        ImageSourceError: no image column, no row, repeated names, or labels that are no class numbers.
    """

    def __init__(
        self,
        dataset: Any,
        image_column: str = "image",
        label_column: str = "label",
        name_column: str = "name",
    ) -> None:
        from datasets import Image as ImageFeature

        columns = dataset.column_names
        if image_column not in columns:
            raise ImageSourceError(f"no column {image_column!r}; the data set has {', '.join(columns)}")
        if len(dataset) == 0:
            raise ImageSourceError("the data set is empty; check the split")
        self.dataset = dataset
        self._images = dataset.select_columns([image_column]).cast_column(
            image_column, ImageFeature(decode=False)
        )
        self._image_column = image_column
        rows = dataset[name_column] if name_column in columns else (f"row-{i}" for i in range(len(dataset)))
        self.names = [str(name) for name in rows]
        require_unique(self.names, f"column {name_column!r}")
        self.labels: list[int] | None = None
        self.class_names: list[str] | None = None
        if label_column in columns:
            self.labels = list(dataset[label_column])
            self.class_names = getattr(dataset.features[label_column], "names", None)
            if not all(isinstance(label, int) for label in self.labels):
                raise ImageSourceError(
                    f"column {label_column!r} must hold class numbers; cast it to ClassLabel"
                )

    def __len__(self) -> int:
        return len(self.names)

    def read_bytes(self, index: int) -> bytes:
        """The encoded image; where the data set stores only a path, that file."""
        cell = self._images[index][self._image_column]
        if cell is None or (cell["bytes"] is None and cell["path"] is None):
            raise ImageSourceError(f"{self.names[index]}: the image cell is empty; drop that row")
        return cell["bytes"] if cell["bytes"] is not None else _read_file(Path(cell["path"]))


class SubsetSource:
    """Some images of another source, in the given order."""

    def __init__(self, source: ImageSource, indices: Sequence[int]) -> None:
        self._source, self._indices = source, indices
        self.names = [source.names[i] for i in indices]
        labels = source.labels
        self.labels = None if labels is None else [labels[i] for i in indices]
        self.class_names = source.class_names

    def __len__(self) -> int:
        return len(self._indices)

    def read_bytes(self, index: int) -> bytes:
        """The encoded image."""
        return self._source.read_bytes(self._indices[index])


def open_images(path: str | Path, split: str = "train") -> ImageSource:
    """Open a folder of images, a tar, one image, or a Parquet data set (``data/<split>-*.parquet``).

    Raises:
        ImageSourceError: nothing of the kind is there.
    """
    path = Path(path)
    if path.is_file():
        return TarSource(path) if ".tar" in path.suffixes else FileListSource([path])
    files = sorted(str(p) for p in (path / "data").glob("*.parquet"))
    return _open_parquet(path, files, split) if files else FolderSource(path)


def require_unique(names: Sequence[str], where: str) -> None:
    """Raise ``ImageSourceError`` with the repeated names, if any."""
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ImageSourceError(f"{where} has duplicate names: {', '.join(repeated[:5])}; rename or drop them")


def _open_parquet(path: Path, files: list[str], split: str) -> DatasetSource:
    from datasets import load_dataset

    chosen = [file for file in files if Path(file).name.startswith(f"{split}-")]
    if not chosen:
        splits = sorted({Path(file).name.rsplit("-", 3)[0] for file in files})
        raise ImageSourceError(f"{path}: has no split {split!r}; choose from {', '.join(splits)}")
    try:
        dataset = load_dataset("parquet", data_files={split: chosen}, split=split)
    except Exception as error:  # pyarrow and datasets share no base class for damaged files
        raise ImageSourceError(f"{path}: not a readable Parquet set ({error}); build it again") from error
    return DatasetSource(dataset)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ImageSourceError:
    return ImageSourceError(f"{path}: cannot be read ({error.strerror}); check the path and permissions")


def _classes_from_folders(names: Sequence[str]) -> tuple[list[int] | None, list[str] | None]:
    if not all("/" in name for name in names):
        return None, None
    folders = [name.split("/", 1)[0] for name in names]
    class_names = sorted(set(folders))
    number = {folder: i for i, folder in enumerate(class_names)}
    return [number[folder] for folder in folders], class_names
