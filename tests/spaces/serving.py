"""A Space as a real server on a free loopback port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 60_000  # milliseconds: other work may keep the machine busy
START = 240  # seconds


@contextmanager
def served(app: Path, folder: Path) -> Iterator[str]:
    """Run a Space's app.py as a person would, with its temporary files below ``folder``, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
    }
    for name in ("HUB_MODELS_FAILURE_NETWORK", "HUB_MODELS_GALLERY", "SPACE_ID"):
        environment.pop(name, None)
    log = folder / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, str(app)], cwd=folder, env=environment, stdout=output, stderr=output
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, server, log)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the Space does not answer:\n{log.read_text()}")
