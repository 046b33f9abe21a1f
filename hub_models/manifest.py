"""MANIFEST.json: the sha256 of every file of a model repository.

It shows integrity, not origin: who can change a file can change the manifest too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .atomic import file_sha256, write_text
from .errors import CheckpointError

MANIFEST = "MANIFEST.json"
MAX_BYTES = 1 << 20
#: Between slashes. No other letters: some look alike, are invisible, or are one on this disk and two on the next.
_PLAIN = re.compile(r"[A-Za-z0-9._+-]+")
_HASH = re.compile(r"[0-9a-f]{64}")


def write_manifest(folder: Path, about: Mapping[str, Any] | None = None) -> None:
    """List every file in ``folder`` and below with its sha256.

    Args:
        about: what else to record, such as the versions a model was trained with.

    Raises:
        CheckpointError: a link, or a name that `read_manifest` would refuse.
    """
    _refuse_links(folder)
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in found}
    files.pop(MANIFEST, None)
    complaint = _complaint(files)
    if complaint:
        raise CheckpointError(f"{folder}: {complaint}; rename it")
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
        CheckpointError: names the first file that is missing or altered, or a link to what is not checked.
    """
    _refuse_links(folder)
    check_files(
        folder, read_manifest(folder)["files"], f"delete {folder} and fetch or export the model again"
    )


def read_listing(path: Path) -> dict[str, Any]:
    """A JSON document whose ``files`` maps file names to sha256.

    Raises:
        CheckpointError: it is not such a document, or a name points out of the folder.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES:,} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
        files = document["files"]
        if not all(isinstance(text, str) for pair in files.items() for text in pair):
            raise TypeError("names and hashes must be strings")
        complaint = _complaint(files)
        if complaint:
            raise ValueError(complaint)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); fetch or make the files again") from error
    return dict(document)


def _complaint(files: Mapping[str, str]) -> str | None:
    """What is wrong with a listing, if anything."""
    for name, sha256 in files.items():
        if not all(_PLAIN.fullmatch(part) and part.strip(".") for part in name.split("/")):
            return f"{name!r} is no plain file name below the folder"
        if not _HASH.fullmatch(sha256):
            return f"{sha256!r} is no sha256"
    if len({name.lower() for name in files}) < len(files):
        return "two file names differ in capitals only"
    return None


def _refuse_links(folder: Path) -> None:
    """Files only: a link may lead to what nobody checks, or publish what was never meant to be.

    A snapshot in huggingface_hub's cache is made of links; those that stay inside the cache are fine.
    """
    real = folder.resolve()
    cache = real.parent.parent.parent if real.parent.name == "snapshots" else None
    for path in folder.rglob("*"):
        if path.is_symlink() and not (cache and path.resolve().is_relative_to(cache)):
            raise CheckpointError(f"{path}: a link; put the file itself in its place")


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
