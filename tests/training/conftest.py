from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ..generated_images import write_images
from .tiny_caches import IMAGES, build


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The order of additions, and so the last bit, depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), IMAGES)


@pytest.fixture(scope="session")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cache that was built without interruption. Read only."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    directory = build(images, tmp_path_factory.mktemp("root")).directory
    torch.set_num_threads(threads)
    return directory
