"""Checks of a repository's files: their sha256, nothing beside them, nothing that runs on reading, nothing unpinned."""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import CheckpointError
from ..manifest import MANIFEST, check_manifest, read_manifest
from .verification import require

#: What the Hub itself adds to a repository.
OF_THE_HUB = ".gitattributes"
REQUIREMENTS = "requirements.txt"
PICKLES = (".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth")
_PINNED = re.compile(
    r"[A-Za-z0-9._-]+(\[[\w,-]+\])?(==[\w.!+-]+| @ https?://\S+#sha256=[0-9a-f]{64})", re.ASCII
)
_CLASS = re.compile(r"(?P<module>\w+)\.\w+", re.ASCII)


def files_of(folder: Path) -> list[str]:
    """Every file in a folder and below, by its name there."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def checksums(folder: Path) -> str:
    """Every listed file is there and has its sha256: integrity, not origin."""
    check_manifest(folder)
    return f"{len(read_manifest(folder)['files'])} files are as MANIFEST.json lists them"


def nothing_else(folder: Path) -> str:
    """No file outside the manifest."""
    listed = {*read_manifest(folder)["files"], MANIFEST, OF_THE_HUB}
    require(f"{name}: not in {MANIFEST}" for name in files_of(folder) if name not in listed)
    return f"no file outside {MANIFEST}"


def known_contents(folder: Path) -> str:
    """Every file is of a kind that cannot run on reading, and holds what its suffix says: so no pickle."""
    require(complaint for name in files_of(folder) for complaint in _complaints(folder / name, name))
    return "no pickle; every file holds what its name says"


def no_script(folder: Path) -> str:
    """No Python file: ``datasets`` refuses a repository with a loading script."""
    require(f"{name}: a data set may hold no script" for name in files_of(folder) if name.endswith(".py"))
    return "no Python file"


def pinned(folder: Path) -> str:
    """Code comes from this repository alone, requirements in exact versions."""
    require([*_foreign_classes(folder), *_loose_requirements(folder)])
    return "no code from elsewhere, no open version"


def _complaints(path: Path, name: str) -> Iterator[str]:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in PICKLES:
        yield f"{name}: may be a pickle, which can run code when it is read"
    elif suffix not in READERS:
        yield f"{name}: of a kind that no repository of this project has"
    else:
        try:
            READERS[suffix](path)
        except (OSError, ValueError, SyntaxError, zipfile.BadZipFile) as error:
            yield f"{name}: does not hold what its name says ({error})"


def _text(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if "\0" in text:
        raise ValueError("binary, not a text")
    return text


def _json_lines(path: Path) -> None:
    for line in _text(path).splitlines():
        json.loads(line)


def _safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            file.keys()
    except SafetensorError as error:
        raise ValueError(error) from error


def _starts_with(magic: bytes) -> Callable[[Path], None]:
    def reader(path: Path) -> None:
        with path.open("rb") as file:
            if file.read(len(magic)) != magic:
                raise ValueError(f"does not start with {magic!r}")

    return reader


def _wheel(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.namelist() if PurePosixPath(name).suffix.lower() in PICKLES]
    if found:
        raise ValueError(f"holds {', '.join(found)}")


#: Suffix -> what reads the file, and raises an error if it holds something else.
READERS: dict[str, Callable[[Path], Any]] = {
    **dict.fromkeys(("", ".bib", ".css", ".csv", ".md", ".svg", ".toml", ".txt"), _text),
    ".json": lambda path: json.loads(_text(path)),
    ".jsonl": _json_lines,
    ".parquet": _starts_with(b"PAR1"),
    ".png": _starts_with(b"\x89PNG\r\n\x1a\n"),
    ".py": lambda path: ast.parse(_text(path)),
    ".safetensors": _safetensors,
    ".whl": _wheel,
}


def _foreign_classes(folder: Path) -> Iterator[str]:
    """Classes in the configurations that no Python file here holds, such as ``other/repository--module.Class``."""
    config, index = _document(folder / "config.json"), _document(folder / "model_index.json")
    pipelines = config.get("custom_pipelines", {}).values()
    named = [*config.get("auto_map", {}).values(), *(pipeline.get("impl", "") for pipeline in pipelines)]
    for field in ("auto_map", "_class_name"):
        value = index.get(field, [])
        named += [".".join(value)] if isinstance(value, list) and value else []
    for name in named:
        found = _CLASS.fullmatch(str(name))
        if not found or not (folder / f"{found['module']}.py").is_file():
            yield f"{name}: its code is not in this repository"


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path.name}: no JSON ({error})") from error
    return document if isinstance(document, dict) else {}


def _loose_requirements(folder: Path) -> Iterator[str]:
    path = folder / REQUIREMENTS
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        requirement = line.split(" #")[0].strip()
        if requirement and not requirement.startswith("#") and not _PINNED.fullmatch(requirement):
            yield f"{REQUIREMENTS}: {requirement!r} is not pinned; write NAME==VERSION or NAME @ URL#sha256=HASH"
