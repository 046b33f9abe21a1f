"""The bytes of all repositories, each once, named by their sha256."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .refusals import Refusal


class Blobs:
    """A folder of files that are there whole or not at all."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def path(self, sha256: str) -> Path:
        """Where a blob lies or would lie."""
        return self.folder / sha256

    def read(self, sha256: str) -> bytes:
        return self.path(sha256).read_bytes()

    def add(self, content: bytes) -> str:
        """Keep these bytes and return their sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.receive(sha256, [content])
        return sha256

    def receive(self, sha256: str, pieces: Iterable[bytes]) -> None:
        """Keep what arrives, if it is what was announced.

        Raises:
            Refusal: its hash is another.
        """
        digest = hashlib.sha256()
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            arriving = Path(scratch, sha256)
            with arriving.open("wb") as file:
                for piece in pieces:
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != sha256:
                raise Refusal(400, "The Content-SHA256 you specified did not match what we received.")
            arriving.rename(self.path(sha256))
