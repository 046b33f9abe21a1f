"""What an attacker makes of a repository, and how a test notices that it worked."""

from __future__ import annotations

import json
import pickle
import resource
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hub_models.manifest import read_manifest, write_manifest

from .loopback.repositories import Commit
from .loopback.server import LoopbackHub


class Canary:
    """Code that leaves a trace where it ran."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def sang(self) -> bool:
        return self.path.exists()

    @property
    def code(self) -> str:
        """Python source; it runs on import."""
        return f"open({str(self.path)!r}, 'w').close()\n"

    @property
    def pickle(self) -> bytes:
        """It runs on unpickling."""
        return pickle.dumps(_Bomb(self.code))


class _Bomb:
    def __init__(self, code: str):
        self.code = code

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (self.code,)


def sign(folder: Path) -> None:
    """Make the manifest list the files as they are: whoever can change them can do that too."""
    about = read_manifest(folder)
    write_manifest(folder, {key: value for key, value in about.items() if key != "files"})


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def plant_signed(hub: LoopbackHub, repository: str, files: Mapping[str, bytes]) -> Commit:
    """Change files on the Hub and its manifest with them; the earlier state stays a commit."""
    manifest = json.loads(hub.content(repository, "MANIFEST.json"))
    commit = hub.plant(repository, dict(files))
    manifest["files"] |= {name: commit.files[name].sha256 for name in files}
    return hub.plant(repository, {"MANIFEST.json": json.dumps(manifest).encode()})


def safetensors(header: bytes, claimed: int | None = None, data: bytes = b"") -> bytes:
    """A file with any header, and any claim about its length."""
    return struct.pack("<Q", len(header) if claimed is None else claimed) + header + data


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file of this process can grow past ``room`` bytes: writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
