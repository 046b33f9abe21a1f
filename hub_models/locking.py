"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import HubModelsError


@contextmanager
def only_process(lock: Path, busy: HubModelsError) -> Iterator[None]:
    """Hold the lock file during the block; raise ``busy`` if another process holds it.

    The system lets go of it when the process ends, however it ends, so a kill leaves nothing locked.
    """
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise busy from None
        yield
