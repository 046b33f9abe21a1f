"""Image files under chosen names: an upload as its sender called it, a packaged photo by what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .errors import ImageSourceError


class NamedFilesSource:
    """Files as an `ImageSource` that never tells where they lie.

    Args:
        files: name -> path, in order.

    Raises:
        ImageSourceError: there is none.
    """

    labels = None
    class_names = None

    def __init__(self, files: Mapping[str, Path]) -> None:
        if not files:
            raise ImageSourceError("no image given; name at least one file")
        self.names = list(files)
        self.paths = list(files.values())

    def __len__(self) -> int:
        return len(self.names)

    def read_bytes(self, index: int) -> bytes:
        """The file's bytes."""
        try:
            return self.paths[index].read_bytes()
        except OSError as error:
            raise ImageSourceError(
                f"{self.names[index]}: cannot be read ({error.strerror}); check the file and its permissions"
            ) from error
