"""The server of the package olah, which shares nothing with ours, over a folder of git repositories."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CONFIG = """\
[basic]
host = "127.0.0.1"
port = {port}
repos-path = "{folder}/cache"
mirrors-path = ["{repositories}"]

[accessibility]
offline = true
"""
START = 120  # seconds


@contextmanager
def olah_server(repositories: Path, folder: Path) -> Iterator[str]:
    """Serve ``repositories``/models/org/name and so on; give the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "olah.toml"
    config.write_text(CONFIG.format(port=port, folder=folder, repositories=repositories))
    log = folder / "olah.log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "olah.server", "--config", str(config), "--port", str(port)]
        command += ["--log-path", str(folder / "logs")]
        server = subprocess.Popen(command, cwd=folder, env=os.environ, stdout=output, stderr=output)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, server, log)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"olah does not answer:\n{log.read_text()}")
