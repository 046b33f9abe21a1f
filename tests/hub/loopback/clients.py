"""How clients find the loopback Hub: by the environment of a new process, or by switching this one over."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from .accounts import WRITE_TOKEN
from .server import LoopbackHub

HF = Path(sys.executable).with_name("hf")


def environment(
    hub: LoopbackHub | str, home: Path, token: str | None = WRITE_TOKEN, offline: bool = False
) -> dict[str, str]:
    """The whole environment of a process that knows this Hub only, and keeps all it writes below ``home``.

    Args:
        hub: or its address, where it is another server.
    """
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HF_ENDPOINT": hub if isinstance(hub, str) else hub.url,
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HUB_MODELS_CACHE": str(home / "hub-models"),
        "OMP_NUM_THREADS": "1",
    }
    if token is not None:
        variables["HF_TOKEN"] = token
    if offline:
        variables["HF_HUB_OFFLINE"] = "1"
    return variables


def run(
    command: list[str], home: Path, variables: Mapping[str, str], timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a command in ``home`` with nothing to read from, and return what it said, however it ended."""
    return subprocess.run(
        command,
        cwd=home,
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def connect(hub: LoopbackHub, home: Path, patch: pytest.MonkeyPatch, token: str | None = WRITE_TOKEN) -> None:
    """Turn this process, which tests keep offline, to the Hub: huggingface_hub read its settings long ago."""
    from huggingface_hub import constants, hf_api

    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "huggingface" / "hub"))
    patch.setattr(hf_api.api, "endpoint", hub.url)
    patch.setenv("HF_ENDPOINT", hub.url)
    patch.setenv("HUB_MODELS_CACHE", str(home / "hub-models"))
    patch.delenv("HF_TOKEN", raising=False)
    if token is not None:
        patch.setenv("HF_TOKEN", token)
