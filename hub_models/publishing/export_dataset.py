"""Complete dataset repositories: Parquet, the card and the tables it was built from; never a script.

``datasets`` refuses a repository with a loading script, so no Python file goes into one.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import DatasetCard

from ..datasets_builder import SCRIPTS, build_dataset
from ..errors import CheckpointError
from ..manifest import write_manifest
from ..repository import replace_folder
from .export import code_licence
from .provenance import about

#: Sets that come with the code. All others are built from images that the user brings.
OURS = ("battery_fmea",)


def dataset_names() -> list[str]:
    """The data sets that can be published; none where only the package is installed."""
    return [name for name in OURS if (SCRIPTS / name / "build.py").is_file()]


def unpublished_datasets() -> dict[str, str]:
    """Name -> why a data set is not published."""
    others = (path.parent.name for path in sorted(SCRIPTS.glob("*/build.py")))
    return {
        name: "built from your own copy of its images, which are not ours to pass on"
        for name in others
        if name not in OURS
    }


def export_dataset(name: str, out: Path) -> Path:
    """Write the repository of a data set to ``out / name`` and return that folder.

    Raises:
        CheckpointError: the name is unknown, the set is made of images that are not ours to pass on, or the place
            is taken by something else.
    """
    if name in unpublished_datasets():
        raise CheckpointError(f"data set {name!r} is not published: {unpublished_datasets()[name]}")
    if name not in dataset_names():
        raise CheckpointError(
            f"data set {name!r} is unknown; choose from {', '.join(dataset_names()) or 'none'}"
        )
    source = SCRIPTS / name
    with replace_folder(out / name) as folder:
        with tempfile.TemporaryDirectory() as scratch, _no_bars():
            build_dataset(name, source, Path(scratch, name))
            shutil.copytree(Path(scratch, name), folder, dirs_exist_ok=True)
        for path in source.glob("*.csv"):
            (folder / "source").mkdir(exist_ok=True)
            shutil.copyfile(path, folder / "source" / path.name)
        (folder / "LICENSE").write_text(code_licence(), encoding="utf-8")
        licence = DatasetCard.load(source / "README.md").data.license
        write_manifest(folder, about(name, "dataset", licence, [source]))
    return out / name


@contextmanager
def _no_bars() -> Iterator[None]:
    """Hold back the progress bars of ``datasets``: a table is written in a moment."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
