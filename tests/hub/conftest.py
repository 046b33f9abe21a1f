"""A Hub on the loopback address, empty for each test, and this process turned to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .loopback.clients import connect
from .loopback.server import LoopbackHub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    """An empty Hub; afterwards, that it did not crash itself."""
    with LoopbackHub(tmp_path / "hub") as hub:
        yield hub
    assert hub.crashes == []


@pytest.fixture
def connected(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """The same; huggingface_hub in this process talks to it, with a token that may write, and a cache of its own."""
    connect(hub, tmp_path / "home", monkeypatch)
    return hub
