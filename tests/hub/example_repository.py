"""A small repository for tests of the loopback Hub."""

from __future__ import annotations

import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import HfHubHTTPError

LARGE = bytes(range(256)) * 1200
CARD = b"---\nlicense: mit\ntags: [a, b]\nlibrary_name: transformers\n---\n# Hello\n"


def three_files() -> list[CommitOperationAdd]:
    contents = {"README.md": CARD, "model.safetensors": LARGE, "sub/config.json": b"{}"}
    return [CommitOperationAdd(path, content) for path, content in contents.items()]


def status(refused: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return refused.value.response.status_code
