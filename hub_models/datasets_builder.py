"""Build one of the project's Parquet data sets from the user's own copy of the images.

``datasets_scripts/<name>/build.py`` says what a set is: ``FEATURES`` and ``splits(data_dir)``, a dictionary
from split name to a function that yields rows. The rest (Parquet, card, place) is the same for all.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

from .errors import ImageSourceError
from .image_sources import DatasetSource
from .paths import cache_dir, data_dir

SCRIPTS = Path(__file__).parent.parent / "datasets_scripts"


def dataset_path(name: str) -> Path:
    """Folder of a built data set; builds it first where the images are at hand.

    Raises:
        ImageSourceError: neither built nor buildable here.
    """
    target = cache_dir() / "datasets" / name
    if not target.is_dir():
        images = data_dir()
        if images is None:
            raise ImageSourceError(
                f"data set {name!r} is not built yet and HUB_MODELS_DATA names no folder; set it to the folder that "
                f"holds the images listed in datasets_scripts/{name}/README.md"
            )
        build_dataset(name, images, target)
    return target


def open_dataset(name: str, split: str = "test") -> DatasetSource:
    """A split of one of the project's data sets, as a source of images."""
    return DatasetSource(load_split(name, split))


def load_split(name: str, split: str = "test"):  # type: ignore[no-untyped-def]
    """A split of one of the project's data sets, as a ``datasets.Dataset`` with undecoded images."""
    from datasets import Image, load_dataset

    files = sorted(str(p) for p in (dataset_path(name) / "data").glob(f"{split}-*.parquet"))
    if not files:
        raise ImageSourceError(f"data set {name!r} has no split {split!r}")
    dataset = load_dataset("parquet", data_files={split: files}, split=split)
    return dataset.cast_column("image", Image(decode=False))


def build_dataset(name: str, images: Path, target: Path) -> None:
    """Write ``target/data/<split>-00000-of-00001.parquet`` and the card, in one step.

    Raises:
        ImageSourceError: no such build script, or an archive that it needs is missing or damaged.
    """
    from datasets import Dataset
    from datasets.exceptions import DatasetGenerationError

    script = _load_script(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=target.parent) as scratch:
        build = Path(scratch) / name
        for split, rows in script.splits(images).items():
            try:
                dataset = Dataset.from_generator(
                    rows, features=script.FEATURES, cache_dir=f"{scratch}/arrow", split=split
                )
            except DatasetGenerationError as error:
                raise ImageSourceError(
                    f"data set {name!r} cannot be built from {images}: {error.__cause__}; its card, "
                    f"datasets_scripts/{name}/README.md, lists what must be there"
                ) from error
            path = build / "data" / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            dataset.to_parquet(str(path))
        shutil.copy(SCRIPTS / name / "README.md", build / "README.md")
        build.rename(target)


def _load_script(name: str) -> ModuleType:
    path = SCRIPTS / name / "build.py"
    spec = importlib.util.spec_from_file_location(f"datasets_scripts_{name}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        known = sorted(p.parent.name for p in SCRIPTS.glob("*/build.py"))
        raise ImageSourceError(
            f"no build script for data set {name!r} in {SCRIPTS}; known: {', '.join(known)}"
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
