from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hub_models import recalibration, zoo
from hub_models.errors import CheckpointError, ImageSourceError
from hub_models.image_sources import FolderSource
from hub_models.manifest import check_manifest
from hub_models.prediction import predict
from hub_models.recalibration import recalibrate, save_recalibrated

from .generated_images import write_images

pytestmark = pytest.mark.filterwarnings("ignore::hub_models.prediction.OutsideReferenceWarning")


@pytest.fixture
def model(tiny_checkpoint: Path):
    return zoo.load(tiny_checkpoint)


@pytest.fixture(scope="module")
def processor(tiny_checkpoint: Path):
    return zoo.load_image_processor(tiny_checkpoint)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), 24)


def test_percentiles_then_refer_to_the_new_images_and_raw_values_stay(model, processor, images):
    source = FolderSource(images)
    before = list(predict(model, processor, source))
    assert recalibrate(model, processor, source, "drawn", show_progress=False) == []
    after = list(predict(model, processor, source))
    assert [p.uncertainty for p in after] == pytest.approx([p.uncertainty for p in before], rel=1e-5)
    ranks = np.argsort(np.argsort([p.uncertainty for p in before])) / 23
    np.testing.assert_allclose([p.percentile for p in after], ranks, atol=0.02)
    assert sum(p.outside_reference for p in after) <= 1
    assert (model.config.reference_name, model.config.reference_size) == ("drawn", 24)


def test_unreadable_images_are_left_out_and_returned(model, processor, tmp_path):
    write_images(tmp_path, 4)
    (tmp_path / "0002.png").write_bytes(b"")
    skipped = recalibrate(model, processor, FolderSource(tmp_path), "some", show_progress=False)
    assert [item.name for item in skipped] == ["0002.png"]
    assert model.config.reference_size == 3


def test_fewer_than_two_readable_images_are_refused(model, processor, tmp_path):
    write_images(tmp_path, 2)
    (tmp_path / "0001.png").write_bytes(b"")
    with pytest.raises(ImageSourceError, match=r"1 of 2 images.*at least two.*0001\.png"):
        recalibrate(model, processor, FolderSource(tmp_path), "few", show_progress=False)


def test_a_large_source_is_sampled_the_same_way_each_time(model, processor, images, monkeypatch):
    monkeypatch.setattr(recalibration, "MAX_IMAGES", 10)
    stored = []
    for _ in range(2):
        recalibrate(model, processor, FolderSource(images), "sample", show_progress=False)
        assert model.config.reference_size == 10
        stored.append(model.reference.quantiles.clone())
    assert torch.equal(*stored)


def test_the_saved_copy_is_a_complete_model_with_the_new_reference(
    model, processor, images, tiny_checkpoint, tmp_path
):
    original = zoo.resolve(tiny_checkpoint)
    untouched = _hashes(original)
    recalibrate(model, processor, FolderSource(images), "drawn", show_progress=False)
    target = tmp_path / "copy"
    save_recalibrated(model, original, target)
    assert _hashes(original) == untouched

    check_manifest(target)
    changed = {name for name, digest in _hashes(target).items() if untouched.get(name) != digest}
    assert changed == {"config.json", "golden.safetensors", "model.safetensors", "MANIFEST.json"}
    assert _hashes(target).keys() == untouched.keys()
    config = json.loads((target / "config.json").read_text())
    assert (config["reference_name"], config["reference_size"]) == ("drawn", 24)

    loaded = zoo.load(target)
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    golden = load_file(target / "golden.safetensors")
    with torch.no_grad():
        output = loaded(golden["pixel_values"])
    torch.testing.assert_close(output.uncertainty_percentile, golden["uncertainty_percentile"])
    torch.testing.assert_close(output.uncertainty, golden["uncertainty"])


def test_a_folder_that_holds_something_else_is_left_alone(model, tiny_checkpoint, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(CheckpointError, match="no exported model"):
        save_recalibrated(model, zoo.resolve(tiny_checkpoint), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
