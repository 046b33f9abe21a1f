from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hub_models.errors import BackboneError, FeatureCacheError
from hub_models.image_sources import FolderSource, read_source_image
from hub_models.locking import only_process
from hub_models.training.feature_cache import build_feature_cache
from hub_models.training.view_cache import BLOCK_IMAGES
from hub_models.training.views import ViewMaker, Views

from ..generated_images import draw_image, write_images
from .tiny_caches import IMAGES, VIEWS, build, features, processor, tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


def copy_of(finished: Path, target: Path) -> Path:
    return Path(shutil.copytree(finished, target / finished.name))


@torch.inference_mode()
def test_the_cache_holds_what_the_model_gives_for_each_view(images: Path, tmp_path: Path) -> None:
    model, source = tiny_model(), FolderSource(images)
    cache = build(images, tmp_path, model=model)
    maker = ViewMaker(processor(), VIEWS)
    assert cache.pooled.shape == (IMAGES, 3, 256)
    assert cache.readable.all()
    assert cache.skipped == {}
    assert isinstance(cache.pooled, np.memmap)
    for index in (0, 15, 16, IMAGES - 1):
        digest = hashlib.sha256(source.read_bytes(index)).hexdigest()
        image = read_source_image(source, index)
        pixels = torch.stack([maker.make(image, digest, view) for view in range(3)])
        expected = model.extract(pixels)
        np.testing.assert_allclose(cache.pooled[index], expected.pooled, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(cache.stages[index], expected.stages, rtol=1e-3, atol=1e-4)


def test_a_finished_cache_is_opened_and_not_built_again(images: Path, finished: Path) -> None:
    before = (finished / "features.safetensors").stat().st_mtime_ns
    cache = build(images, finished.parent)
    assert cache.directory == finished
    assert (finished / "features.safetensors").stat().st_mtime_ns == before


def test_building_warns_of_nothing(images: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    build(images, tmp_path)
    assert not recwarn.list


def test_the_callers_model_stays_as_it_is(images: Path, tmp_path: Path) -> None:
    model = tiny_model()
    strides = [parameter.stride() for parameter in model.parameters()]
    state = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    build(images, tmp_path, model=model.train())
    assert not model.training
    assert [parameter.stride() for parameter in model.parameters()] == strides
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.backbone.state_dict().items())


@pytest.mark.parametrize(
    "change", ["weights", "processor", "views", "seed", "image", "image order", "stages"]
)
def test_a_changed_input_makes_another_cache(
    images: Path, finished: Path, tmp_path: Path, change: str
) -> None:
    changed = Path(shutil.copytree(images, tmp_path / "images"))
    options: dict[str, Any] = {}
    if change == "weights":
        options["model"] = tiny_model()
        with torch.no_grad():
            next(options["model"].backbone.parameters())[0, 0, 0, 0] += 1e-6
    elif change == "processor":
        options["processor"] = processor(33)
    elif change == "views":
        options["views"] = Views(crops=1, degraded=0, seed=3)
    elif change == "seed":
        options["views"] = Views(crops=1, degraded=1, seed=4)
    elif change == "stages":
        options["model"] = tiny_model(stage_indices=[0, 1])
    elif change == "image":
        draw_image(999).save(changed / "0003.png")
    else:
        (changed / "0000.png").rename(changed / "9999.png")
    assert build(changed, tmp_path / "root", **options).directory.name != finished.name


def test_a_folder_of_other_inputs_is_refused_and_the_field_is_named(
    images: Path, finished: Path, tmp_path: Path
) -> None:
    directory = copy_of(finished, tmp_path)
    before = features(directory)
    with pytest.raises(FeatureCacheError, match=r"manifest\.json: .*inputs \(views differ\); use another"):
        build(images, tmp_path, Views(crops=1, degraded=1, seed=4), directory=directory)
    with pytest.raises(FeatureCacheError, match=r"\(backbone, backbone_sha256, stages differ\)"):
        build(images, tmp_path, model=tiny_model("test_convnext"), directory=directory)
    changed = Path(shutil.copytree(images, tmp_path / "images"))
    draw_image(999).save(changed / "0003.png")
    with pytest.raises(FeatureCacheError, match=r"other inputs \(images_sha256 differ\)"):
        build(changed, tmp_path, directory=directory)
    assert features(directory) == before


def test_a_damaged_manifest_is_a_typed_error(images: Path, finished: Path, tmp_path: Path) -> None:
    directory = copy_of(finished, tmp_path)
    (directory / "manifest.json").write_bytes(b"\x00\xff{")
    with pytest.raises(FeatureCacheError, match=r"manifest\.json: damaged; delete its folder"):
        build(images, tmp_path, directory=directory)


def test_a_cache_cut_short_is_refused(images: Path, finished: Path, tmp_path: Path) -> None:
    directory = copy_of(finished, tmp_path)
    with (directory / "features.safetensors").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(FeatureCacheError, match=r"features\.safetensors: has 5,000 of .* cut short; delete"):
        build(images, tmp_path)


def test_a_flipped_byte_is_found_and_its_block_built_again(
    images: Path, finished: Path, tmp_path: Path
) -> None:
    directory = copy_of(finished, tmp_path)
    good = features(directory)
    damaged = bytearray(good)
    damaged[len(good) // 3] ^= 1
    (directory / "features.safetensors").write_bytes(damaged)
    build(images, tmp_path)
    assert features(directory) == good


@pytest.mark.parametrize(
    "tear",
    [lambda text: text[:-9], lambda text: text[:-1], lambda text: text + "null\n3\n\0\0{", lambda _: ""],
    ids=["half a line", "no line end", "garbage", "empty"],
)
def test_a_torn_journal_costs_only_the_torn_line(
    images: Path, finished: Path, tmp_path: Path, tear: Any
) -> None:
    directory = copy_of(finished, tmp_path)
    good = features(directory)
    journal = directory / "done-0.jsonl"
    journal.write_text(tear(journal.read_text()))
    zeroed = bytearray(good)
    zeroed[-400:] = bytes(400)  # and the rows of the last block were not written
    (directory / "features.safetensors").write_bytes(zeroed)
    build(images, tmp_path)
    assert features(directory) == good
    build(images, tmp_path)


def test_a_second_process_may_read_a_finished_cache_but_not_build_one(
    images: Path, finished: Path, tmp_path: Path
) -> None:
    directory = copy_of(finished, tmp_path)
    with only_process(directory / "lock-0", AssertionError()):
        assert build(images, tmp_path).directory == directory
        (directory / "done-0.jsonl").write_text("")
        with pytest.raises(FeatureCacheError, match="another process is building this cache; wait"):
            build(images, tmp_path)


def test_unreadable_images_are_skipped_and_reported(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 2 * BLOCK_IMAGES)
    (folder / "0003.png").write_bytes(b"no image")
    Image.new("RGB", (1, 1)).save(folder / "0004.png")
    whole = (folder / "0020.png").read_bytes()
    (folder / "0020.png").write_bytes(whole[: len(whole) // 2])
    if Path("/proc/self/mem").exists():  # unreadable for everyone
        (folder / "0021.png").unlink()
        (folder / "0021.png").symlink_to("/proc/self/mem")
    else:
        (folder / "0021.png").write_bytes(b"")
    cache = build(folder, tmp_path / "root")
    bad = [3, 4, 20, 21]
    assert np.flatnonzero(~cache.readable).tolist() == bad
    assert list(cache.skipped) == [f"{i:04d}.png" for i in bad]
    assert "not an image" in cache.skipped["0003.png"]
    assert "too small" in cache.skipped["0004.png"]
    assert "cut short" in cache.skipped["0020.png"]
    assert np.isnan(cache.pooled[bad]).all()
    assert np.isfinite(cache.pooled[cache.readable]).all()
    assert np.isfinite(cache.stages[cache.readable]).all()
    again = build(folder, tmp_path / "root")
    assert again.skipped == cache.skipped


def test_a_block_without_one_readable_image_is_no_problem(tmp_path: Path) -> None:
    """Also for a backbone that takes one input size only, and also as the first block."""
    folder = write_images(tmp_path / "images", BLOCK_IMAGES + 2)
    for i in range(BLOCK_IMAGES):
        (folder / f"{i:04d}.png").write_bytes(b"no image")
    model = tiny_model("vit_tiny_patch16_224", backbone_kwargs={"img_size": 48, "depth": 1})
    cache = build(folder, tmp_path / "root", model=model, processor=processor(48))
    assert np.flatnonzero(cache.readable).tolist() == [BLOCK_IMAGES, BLOCK_IMAGES + 1]
    assert np.isfinite(cache.pooled[cache.readable]).all()


def test_an_image_that_changes_during_the_build_stops_it(images: Path, tmp_path: Path) -> None:
    class Changing(FolderSource):
        reads = 0

        def read_bytes(self, index: int) -> bytes:
            self.reads += 1
            return super().read_bytes(index) + (b"x" if self.reads > len(self) + 5 else b"")

    with pytest.raises(FeatureCacheError, match=r"0005\.png: changed while the cache was being built"):
        build_feature_cache(tiny_model(), processor(), Changing(images), VIEWS, tmp_path, show_progress=False)


def test_a_backbone_whose_logits_cannot_be_cached_is_refused(images: Path, tmp_path: Path) -> None:
    fields = {"backbone_kwargs": {"img_size": 32, "depth": 1}}
    model = tiny_model("deit_tiny_distilled_patch16_224", **fields)
    with pytest.raises(BackboneError, match=r"deit_tiny.*no function of its pre-logits.*num_classes = 0"):
        build(images, tmp_path, model=model)
    model = tiny_model("deit_tiny_distilled_patch16_224", num_classes=0, **fields)
    assert build(images, tmp_path, Views(), model=model).pooled.shape == (IMAGES, 1, 192)
