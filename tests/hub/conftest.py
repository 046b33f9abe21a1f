"""A Hub on the loopback address, empty for each test, and this process turned to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from .example_repository import three_files
from .loopback.accounts import WRITE_TOKEN
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


@pytest.fixture
def api(connected: LoopbackHub) -> HfApi:
    return HfApi(endpoint=connected.url, token=WRITE_TOKEN)


@pytest.fixture
def api_of(connected: LoopbackHub) -> Callable[[str | bool], HfApi]:
    """The client as another user; False: nobody."""
    return lambda token: HfApi(endpoint=connected.url, token=token)


@pytest.fixture
def model(api: HfApi) -> str:
    """A repository of three files, one of them large and one in a folder."""
    api.create_repo("zoo/model")
    api.create_commit("zoo/model", three_files(), commit_message="Three files")
    return "zoo/model"
