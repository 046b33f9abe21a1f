from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hub_models import datasets_builder
from hub_models.datasets_builder import build_dataset, dataset_path, load_split, open_dataset
from hub_models.errors import ImageSourceError
from hub_models.image_sources import read_source_image

SIZES = {
    ("imagenet_mix_3500", "train"): 3500,
    ("ilsvrc_val_500", "test"): 500,
    ("photos_ccby_500", "test"): 500,
    ("cub200_2010", "dev"): 2990,
    ("cub200_2010", "test"): 3043,
    ("cars196", "dev"): 4052,
    ("cars196", "test"): 4092,
    ("cifar10h", "test"): 10_000,
    ("cifar10_train", "train"): 20_000,
}
#: Sets that come with the code and hold no images (see tests/datasets_scripts).
TABLES = {
    "battery_fmea": {"failures", "relations", "contradictions", "grown_600_failures", "grown_600_relations"}
}


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ImageSourceError, match="cifar10h"):
        build_dataset("nonsense", tmp_path, tmp_path / "out")


def test_without_images_the_error_says_what_to_set(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HUB_MODELS_DATA", raising=False)
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path))
    with pytest.raises(ImageSourceError, match="HUB_MODELS_DATA"):
        dataset_path("cars196")


def test_a_missing_archive_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ImageSourceError, match=r"cars196_train_128x96\.tar"):
        build_dataset("cars196", tmp_path, tmp_path / "built" / "cars196")
    assert list((tmp_path / "built").iterdir()) == []


def test_every_script_has_a_card_that_names_its_splits() -> None:
    from huggingface_hub import DatasetCard

    for script in datasets_builder.SCRIPTS.glob("*/build.py"):
        data = DatasetCard.load(script.parent / "README.md").data
        declared = {entry["split"] for config in data.configs for entry in config["data_files"]}
        images = {split for name, split in SIZES if name == script.parent.name}
        assert declared == images | TABLES.get(script.parent.name, set())
        assert data.license


@pytest.mark.data
@pytest.mark.parametrize(("name", "split"), SIZES)
def test_sets_have_their_size_and_readable_images(name: str, split: str) -> None:
    source = open_dataset(name, split)
    assert len(source) == SIZES[name, split]
    assert len(set(source.names)) == len(source)
    for index in (0, len(source) // 2, len(source) - 1):
        assert min(read_source_image(source, index).size) >= 32


@pytest.mark.data
def test_zero_shot_splits_share_no_class_and_votes_add_up() -> None:
    for name in ("cub200_2010", "cars196"):
        assert not set(load_split(name, "dev")["label"]) & set(load_split(name, "test")["label"])
    tiny = load_split("cifar10h")
    votes = np.array(tiny["votes"])
    assert votes.sum(axis=1).min() >= 47
    assert votes.sum(axis=1).max() <= 63
    # People agree with the official label on nearly every image: files and votes are in the same order.
    assert (votes.argmax(axis=1) == np.array(tiny["label"])).mean() > 0.99
