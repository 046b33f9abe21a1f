from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hub_models.errors import FeatureCacheError, GalleryError
from hub_models.image_sources import FolderSource
from hub_models.locking import only_process
from hub_models.prediction import Prediction, predict
from hub_models.retrieval import Gallery, Index, build_gallery

from ..generated_images import memory_growth, write_images

pytestmark = pytest.mark.filterwarnings("ignore::hub_models.prediction.OutsideReferenceWarning")

BLOCKS_OF_FOUR = 4


@pytest.fixture
def build(model, processor):
    def run(folder: Path, images: Path, **options) -> Gallery:
        return build_gallery(
            model, processor, FolderSource(images), folder, model_name="tiny", show_progress=False, **options
        )

    return run


def test_it_holds_the_predictions_of_every_readable_image(model, processor, photos, gallery_folder):
    gallery = Gallery.open(gallery_folder)
    source = FolderSource(photos)
    expected = [p for p in predict(model, processor, source) if isinstance(p, Prediction)]
    embeddings = np.stack([p.embedding for p in expected])
    assert gallery.names == [p.name for p in expected]
    np.testing.assert_allclose(
        gallery.embeddings,
        embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True),
        rtol=1e-4,
        atol=1e-6,
    )
    np.testing.assert_allclose(gallery.uncertainty, [p.uncertainty for p in expected], rtol=1e-4)
    np.testing.assert_allclose(gallery.percentiles, [p.percentile for p in expected], atol=1e-3)
    np.testing.assert_allclose(gallery.entropy, [p.entropy for p in expected], rtol=1e-4)
    for name in ("error", "transfer"):
        np.testing.assert_allclose(
            gallery.uncertainties[name], [p.uncertainties[name] for p in expected], rtol=1e-4
        )
    assert gallery.labels.tolist() == [0] * 11 + [1] * 12
    assert sorted(path.name for path in gallery_folder.iterdir()) == [
        "gallery.json",
        "gallery.safetensors",
        "lock",
    ]


def test_building_it_again_opens_it(build, photos, gallery_folder):
    before = (gallery_folder / "gallery.json").read_bytes()
    assert len(build(gallery_folder, photos)) == 23
    assert (gallery_folder / "gallery.json").read_bytes() == before


def test_a_gallery_of_one_image(build, tmp_path):
    gallery = build(tmp_path / "gallery", write_images(tmp_path / "one", 1))
    assert len(gallery) == 1
    assert gallery.labels is None


def test_changed_images_are_refused(build, tmp_path):
    images = write_images(tmp_path / "images", 3)
    build(tmp_path / "gallery", images)
    write_images(images, 1, first=50)
    with pytest.raises(GalleryError, match=r"gallery\.json: .*images_sha256 differ"):
        build(tmp_path / "gallery", images)
    (images / "0002.png").unlink()
    with pytest.raises(GalleryError, match="images, images_sha256 differ"):
        build(tmp_path / "gallery", images)


def test_nothing_readable_is_told_with_a_reason(build, tmp_path):
    (tmp_path / "images").mkdir()
    for name in "ab":
        (tmp_path / "images" / f"{name}.png").write_bytes(b"")
    with pytest.raises(GalleryError, match=r"none of the 2 images can be read.*a\.png"):
        build(tmp_path / "gallery", tmp_path / "images")


def test_a_second_builder_is_refused(build, photos, tmp_path):
    with (
        only_process(tmp_path / "lock", GalleryError("")),
        pytest.raises(GalleryError, match="another process is building"),
    ):
        build(tmp_path, photos)


def test_an_approximate_index_is_chosen_with_its_measured_recall(build, tmp_path):
    folder, images = tmp_path / "gallery", write_images(tmp_path / "images", 6)
    assert (build(folder, images).kind, build(folder, images).recall) == ("exact", 1.0)
    chosen = build(folder, images, kind="hnsw")
    assert (chosen.kind, chosen.recall) == ("hnsw", Index(chosen.embeddings, "hnsw").recall())
    assert Gallery.open(folder).index().kind == "hnsw"
    assert build(folder, images).kind == "exact"


class InterruptedBuildError(Exception):
    pass


class Interrupting(FolderSource):
    """Stops the build once image ``stop`` is asked for a second time: the first time it is only hashed."""

    stop = 10**9

    def read_bytes(self, index: int) -> bytes:
        self.seen = getattr(self, "seen", set())
        if index == self.stop and index in self.seen:
            raise InterruptedBuildError
        self.seen.add(index)
        return super().read_bytes(index)


@pytest.fixture
def unfinished(model, processor, photos, tmp_path, monkeypatch):
    """A build in blocks of four that stopped in its fourth block."""
    monkeypatch.setattr("hub_models.retrieval.building.BLOCK_IMAGES", BLOCKS_OF_FOUR)
    source = Interrupting(photos)
    source.stop = 17
    with pytest.raises(InterruptedBuildError):
        build_gallery(model, processor, source, tmp_path, model_name="tiny", show_progress=False)
    assert not (tmp_path / "gallery.json").exists()
    return tmp_path


@pytest.mark.parametrize("harm", ["nothing", "line cut short", "row altered", "last line lost"])
def test_it_goes_on_where_it_stopped_and_repeats_what_is_damaged(
    build, photos, gallery_folder, unfinished, harm
):
    journal, rows = unfinished / "done-0.jsonl", unfinished / "building.safetensors"
    text = journal.read_text()
    assert text.count("\n") >= 1
    if harm == "line cut short":
        journal.write_text(text + '{"block": 4, "sha')
    elif harm == "last line lost":
        journal.write_text("".join(line + "\n" for line in text.splitlines()[:-1]))
    elif harm == "row altered":
        content = bytearray(rows.read_bytes())
        content[2000] ^= 255
        rows.write_bytes(content)
    gallery, whole = build(unfinished, photos), Gallery.open(gallery_folder)
    assert gallery.names == whole.names
    assert gallery.skipped == whole.skipped
    np.testing.assert_allclose(gallery.embeddings, whole.embeddings, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gallery.uncertainty, whole.uncertainty, rtol=1e-4)


def test_finished_blocks_are_not_computed_again(model, processor, photos, unfinished):
    source = Interrupting(photos)
    done = len((unfinished / "done-0.jsonl").read_text().splitlines()) * BLOCKS_OF_FOUR
    source.stop = done - 1  # its second reading would be its prediction
    build_gallery(model, processor, source, unfinished, model_name="tiny", show_progress=False)


def test_an_unfinished_file_cut_short_is_told(build, photos, unfinished):
    rows = unfinished / "building.safetensors"
    rows.write_bytes(rows.read_bytes()[:-4])
    with pytest.raises(FeatureCacheError, match=r"building\.safetensors: .*cut short"):
        build(unfinished, photos)


def test_an_unfinished_gallery_of_other_images_is_refused(build, unfinished, tmp_path_factory):
    others = write_images(tmp_path_factory.mktemp("others"), 2)
    with pytest.raises(GalleryError, match=r"building\.json: .*images, images_sha256 differ"):
        build(unfinished, others)


def test_a_full_disk_is_told_before_any_work(build, photos, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(FeatureCacheError, match=r"building\.safetensors: cannot hold"):
            build(tmp_path, photos)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(build(tmp_path, photos)) == 23


def test_memory_does_not_grow_with_the_number_of_images(tiny_checkpoint, tmp_path):
    statement = (
        "from hub_models.retrieval import build_gallery\n"
        f"build_gallery(model, processor, source, {str(tmp_path)!r}, model_name='tiny')"
    )
    assert memory_growth(tiny_checkpoint, statement) < 8 * 1024
    assert len(Gallery.open(tmp_path)) == 1000


BUILD = """
import sys
from pathlib import Path
from hub_models import zoo
from hub_models.image_sources import FolderSource
from hub_models.retrieval import build_gallery
name, images, folder = map(Path, sys.argv[1:])
model, processor = zoo.load(name), zoo.load_image_processor(name)
build_gallery(model, processor, FolderSource(images), folder, model_name="tiny")
"""


def test_a_killed_build_goes_on_without_loss_or_duplicates(build, tiny_checkpoint, tmp_path):
    images = write_images(tmp_path / "images", 192)
    folder = tmp_path / "gallery"
    command = [sys.executable, "-c", BUILD, str(tiny_checkpoint), str(images), str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    journal = folder / "done-0.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_text().count("\n") >= 1):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    finished = [json.loads(line)["block"] for line in journal.read_text().splitlines()]
    assert len(finished) < 3

    gallery = build(folder, images)
    assert gallery.names == [f"{i:04d}.png" for i in range(192)]
    whole = build(tmp_path / "whole", images)
    np.testing.assert_allclose(gallery.embeddings, whole.embeddings, rtol=1e-4, atol=1e-6)
