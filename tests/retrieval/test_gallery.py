from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hub_models import zoo
from hub_models.errors import GalleryError
from hub_models.retrieval import Gallery, model_identity

from .conftest import random_gallery


def test_a_gallery_without_images_is_refused():
    with pytest.raises(GalleryError, match="at least one image"):
        Gallery(names=[], embeddings=np.empty((0, 4)), uncertainty=np.empty(0))


def test_duplicate_names_are_refused_and_told():
    with pytest.raises(GalleryError, match=r"duplicate names: 1\.png"):
        dataclasses.replace(random_gallery(3), names=["0.png", "1.png", "1.png"])


@pytest.mark.parametrize("column", ["embeddings", "uncertainty", "percentiles", "entropy"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_with_the_image(column, value):
    gallery = random_gallery(5000)
    values = np.array(gallery.uncertainty if column == "entropy" else getattr(gallery, column))
    values[4321] = value
    with pytest.raises(GalleryError, match=rf"^4321\.png: {column} holds NaN or infinity"):
        dataclasses.replace(gallery, **{column: values})


def test_read_outs_are_checked_too():
    with pytest.raises(GalleryError, match=r"^2\.png: error holds NaN"):
        dataclasses.replace(random_gallery(3), uncertainties={"error": np.array([0, 1, np.nan])})


@pytest.mark.parametrize("column", ["embeddings", "uncertainty", "percentiles", "labels"])
def test_columns_of_another_length_are_refused(column):
    gallery = random_gallery(5, classes=2)
    with pytest.raises(GalleryError, match=rf"{column}: 4 rows for 5 names"):
        dataclasses.replace(gallery, **{column: getattr(gallery, column)[:4]})


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_without_a_class_name_is_refused(label):
    with pytest.raises(GalleryError, match=r"1\.png: its label has no class name"):
        dataclasses.replace(random_gallery(2, classes=2), labels=np.array([0, label]))


def test_class_names():
    gallery = random_gallery(2, classes=2)
    gallery = dataclasses.replace(gallery, labels=np.array([1, 0]))
    assert [gallery.class_name(i) for i in range(2)] == ["class 1", "class 0"]
    assert dataclasses.replace(gallery, class_names=None).class_name(0) == "1"
    assert random_gallery(1).class_name(0) is None


def test_opening_gives_what_was_built(gallery_folder):
    gallery = Gallery.open(gallery_folder)
    assert len(gallery) == 23
    assert gallery.names[:4] == ["heron/0000.png", "heron/0001.png", "heron/0002.png", "heron/0004.png"]
    assert [gallery.class_name(i) for i in (0, 22)] == ["heron", "stork"]
    assert list(gallery.skipped) == ["heron/0003.png"]
    assert gallery.uncertainties.keys() == {"error", "transfer"}
    np.testing.assert_allclose(np.linalg.norm(gallery.embeddings, axis=1), 1, rtol=1e-5)
    assert len(gallery.index()) == 23


def test_a_missing_gallery_is_told_with_the_next_step(tmp_path):
    with pytest.raises(GalleryError, match=r"gallery\.json: missing.*hub-models index"):
        Gallery.open(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_tensors_cut_short_are_told(gallery_folder, tmp_path, size):
    folder = _copy(gallery_folder, tmp_path)
    tensors = folder / "gallery.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:size])
    with pytest.raises(GalleryError, match=r"gallery\.safetensors: missing or cut short"):
        Gallery.open(folder)


@pytest.mark.parametrize("file", ["gallery.safetensors", "gallery.json"])
@pytest.mark.parametrize("place", [0.0, 0.2, 0.5, 0.8, 0.999])
def test_any_flipped_bit_is_noticed(gallery_folder, tmp_path, file, place):
    folder = _copy(gallery_folder, tmp_path)
    content = bytearray((folder / file).read_bytes())
    content[int(place * len(content))] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(GalleryError, match=f"{file}: (altered|damaged)"):
        Gallery.open(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "[1]", "null", '{"format": 1}', "\xff"])
def test_a_document_that_is_none_is_told(tmp_path, content):
    (tmp_path / "gallery.json").write_text(content, encoding="latin-1")
    with pytest.raises(GalleryError, match=r"gallery\.json: (altered|damaged)"):
        Gallery.open(tmp_path)


def test_another_format_is_told(gallery_folder, tmp_path):
    from hub_models.retrieval import gallery as module

    folder = _copy(gallery_folder, tmp_path)
    document = json.loads((folder / "gallery.json").read_text())
    document.pop("sha256")
    document["format"] = 99
    document["sha256"] = module._document_sha256(document)
    (folder / "gallery.json").write_text(json.dumps(document))
    with pytest.raises(GalleryError, match="has format 99, not 1"):
        Gallery.open(folder)


def test_another_model_reference_or_preprocessing_is_refused(tiny_checkpoint, gallery_folder, processor):
    gallery = Gallery.open(gallery_folder)
    model = zoo.load(tiny_checkpoint)
    gallery.require_model(model, processor)

    other = type(processor)(**{**processor.to_dict(), "image_mean": [0.0, 0.0, 0.0]})
    with pytest.raises(GalleryError, match="model 'tiny' with other weights, reference or preprocessing"):
        gallery.require_model(model, other)
    identity = model_identity(model, processor)
    with torch.no_grad():
        model.reference.quantiles[0, 0] += 1
    assert model_identity(model, processor) != identity
    with pytest.raises(GalleryError, match="other weights, reference"):
        gallery.require_model(model, processor)


def _copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))
