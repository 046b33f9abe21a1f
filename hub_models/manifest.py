"""MANIFEST.json: the sha256 of every file of a model repository.

It shows integrity, not origin: who can change a file can change the manifest too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .atomic import file_sha256, write_text
from .errors import CheckpointError

MANIFEST = "MANIFEST.json"


def write_manifest(folder: Path, about: Mapping[str, Any] | None = None) -> None:
    """List every file in ``folder`` and below with its sha256.

    Args:
        about: what else to record, such as the versions a model was trained with.
    """
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in found}
    files.pop(MANIFEST, None)
    document = {**(about or {}), "files": files}
    write_text(folder / MANIFEST, json.dumps(document, indent=2, sort_keys=True) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The document as written.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(
            f"{path}: missing, so nothing can be checked; export the model again (hub-models export NAME)"
        )
    return read_listing(path)


def check_manifest(folder: Path) -> None:
    """Compare every listed file with its sha256.

    Raises:
        CheckpointError: names the first file that is missing or altered.
    """
    check_files(
        folder, read_manifest(folder)["files"], f"delete {folder} and fetch or export the model again"
    )


def read_listing(path: Path) -> dict[str, Any]:
    """A JSON document whose ``files`` maps file names to sha256.

    Raises:
        CheckpointError: it is not such a document, or a name points out of the folder.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        files = document["files"]
        if not all(isinstance(text, str) for pair in files.items() for text in pair):
            raise TypeError("names and hashes must be strings")
        if any(not _stays_inside(name) for name in files):
            raise ValueError("a file name leaves the folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); fetch or make the files again") from error
    return dict(document)


def _stays_inside(name: str) -> bool:
    parts = name.split("/")
    return "\\" not in name and "\0" not in name and not any(part in ("", ".", "..") for part in parts)


def check_files(folder: Path, files: Mapping[str, str], remedy: str) -> None:
    """Compare ``files``, name -> sha256, with what ``folder`` holds.

    Args:
        remedy: the next step, for the message.

    Raises:
        CheckpointError: names the first file that is missing or altered.
    """
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path}: missing; {remedy}")
        actual = file_sha256(path)
        if actual != expected:
            raise CheckpointError(
                f"{path}: altered or damaged (sha256 {actual[:12]}..., expected {expected[:12]}...); {remedy}"
            )
