"""`hub-models space`: one Space or all of them with a start page, as real processes on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from hub_models.errors import SpaceError
from hub_models.space_servers import run_spaces, space_names, start_page

from .serving import START

COMMAND = [str(Path(sys.executable).with_name("hub-models")), "space"]


def test_all_three_spaces_are_known() -> None:
    assert space_names() == ["root_cause", "safe_retrieval", "shielded_generation"]


def test_the_start_page_links_to_each_in_its_own_words() -> None:
    page = start_page({"root_cause": 7861, "safe_retrieval": 7862})
    assert 'href="http://127.0.0.1:7861"' in page
    assert "Root cause" in page
    assert "Image search that knows when not to answer" in page


def test_an_unknown_space_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SpaceError, match="'weather' is unknown; choose from root_cause, safe_retrieval"):
        run_spaces(["weather"], 7860)


def test_a_taken_port_is_named_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SpaceError, match=f"port {port} of 127.0.0.1 cannot be used"):
            run_spaces(space_names(), port)


def _fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=20) as answer:
        return str(answer.read().decode())


@pytest.mark.slow
def test_all_start_and_all_stop_together(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log"
    with log.open("w") as output:
        command = subprocess.Popen(
            [*COMMAND, "--port", str(port)], env=os.environ, stdout=output, stderr=output
        )
    try:
        end = time.monotonic() + START
        waiting = {port + 1, port + 2, port + 3}
        while waiting and time.monotonic() < end:
            assert command.poll() is None, log.read_text()
            for number in sorted(waiting):
                try:
                    assert "gradio" in _fetch(number)
                    waiting.discard(number)
                except OSError:
                    time.sleep(1)
        assert not waiting, log.read_text()
        assert "Shielded generation" in _fetch(port)
    finally:
        command.send_signal(signal.SIGINT)
        assert command.wait(timeout=60) == 0, log.read_text()
    for number in range(port, port + 4):
        with pytest.raises(OSError, match="refused"):
            _fetch(number)
