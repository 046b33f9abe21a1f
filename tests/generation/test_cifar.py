from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from hub_models.errors import ImageSourceError
from hub_models.generation.cifar import ARCHIVE, load_cifar10


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setenv("HUB_MODELS_DATA", str(tmp_path))
    return tmp_path / ARCHIVE


def _add(tar: tarfile.TarFile, name: str, grey: int) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), grey, dtype=np.uint8)).save(file, "jpeg")
    info = tarfile.TarInfo(name)
    info.size = file.tell()
    file.seek(0)
    tar.addfile(info, file)


def test_reads_one_split_with_labels_from_folders(archive):
    with tarfile.open(archive, "w:gz") as tar:
        for grey, name in ((10, "train/airplane/0.jpg"), (200, "train/truck/0.jpg"), (50, "test/cat/0.jpg")):
            _add(tar, name, grey)
    images = load_cifar10("train")
    assert images.pixels.shape == (2, 3, 32, 32)
    by_label = dict(zip(images.labels.tolist(), images.pixels.float().mean((1, 2, 3)).tolist(), strict=True))
    assert by_label == {0: pytest.approx(10, abs=2), 9: pytest.approx(200, abs=2)}
    assert load_cifar10("test").labels.tolist() == [3]


def test_missing_or_wrong_archive(archive):
    with pytest.raises(ImageSourceError, match="HUB_MODELS_DATA"):
        load_cifar10("train")
    with tarfile.open(archive, "w:gz") as tar:
        _add(tar, "other/0.jpg", 0)
    with pytest.raises(ImageSourceError, match="train"):
        load_cifar10("train")


@pytest.mark.data
def test_real_archive_is_balanced():
    assert torch.bincount(load_cifar10("test").labels).tolist() == [1000] * 10
