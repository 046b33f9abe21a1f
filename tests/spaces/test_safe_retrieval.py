from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import app
import numpy as np
import pytest
import yaml
from example_photos import example_photos
from PIL import Image
from safe_search import NEIGHBOURS, SHOWN_OF_SET, Later, Look, SafeSearch

from hub_models.errors import CheckpointError, GalleryError
from hub_models.image_sources import FolderSource
from hub_models.prediction import Skipped
from hub_models.sample_photos import sample_photos
from hub_models.zoo import released_checkpoints

from ..generated_images import draw_image, write_images
from ..tiny_embedding import tiny_embedding_checkpoint

SPACE = Path(app.__file__).parent

# Drawn images and random weights: of course they are.
pytestmark = pytest.mark.filterwarnings("ignore::hub_models.prediction.OutsideReferenceWarning")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("photos"), 10, ("heron", "stork"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def search(photos: Path, cache: Path, tiny_repository: Path) -> Iterator[SafeSearch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_MODELS_CACHE", str(cache))
        yield SafeSearch(str(tiny_repository), FolderSource(photos))


@pytest.fixture
def look(search: SafeSearch, tmp_path: Path) -> Look:
    draw_image(99).save(tmp_path / "query.png")
    look = search.look(str(tmp_path / "query.png"), "holiday.png")
    assert isinstance(look, Look)
    return look


def test_a_look_tells_percentile_and_the_likeliest_labels(look: Look) -> None:
    assert look.prediction.name == "holiday.png"
    assert 0 <= look.prediction.percentile <= 1
    probabilities = [probability for _, probability in look.labels]
    assert probabilities == sorted(probabilities, reverse=True)
    assert look.labels[0][0] == f"class {look.prediction.label}"
    assert look.labels[0][1] == pytest.approx(look.prediction.probability, abs=1e-5)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no image at all", "not an image"),
        (b"", "not an image"),
        (b"\x89PNG\r\n\x1a\n cut short", "not an image|damaged or cut short"),
    ],
)
def test_a_file_that_is_no_image_is_refused_by_its_own_name(
    search: SafeSearch, tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(content)
    refused = search.look(str(path), "notes.jpg")
    assert isinstance(refused, Skipped)
    assert re.match(rf"notes\.jpg: ({reason})", refused.reason)
    assert str(tmp_path) not in refused.reason


def test_an_image_of_one_pixel_is_refused(search: SafeSearch, tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    refused = search.look(str(tmp_path / "dot.png"), "dot.png")
    assert isinstance(refused, Skipped)
    assert "too small" in refused.reason


def test_the_limit_decides_whether_a_photo_is_answered(search: SafeSearch, look: Look) -> None:
    look = replace(look, prediction=replace(look.prediction, percentile=0.5))
    assert search.answer(look, 51).abstained is None
    refused = search.answer(look, 49)
    assert refused.abstained == "more uncertain than 50.0% of the reference images (limit 49%)"
    assert refused.neighbours == ()


def test_without_a_limit_the_nearest_photos_come_in_order(search: SafeSearch, look: Look) -> None:
    similarities = [neighbour.similarity for neighbour in search.answer(look, 100).neighbours]
    own = look.prediction.embedding / np.linalg.norm(look.prediction.embedding)
    expected = np.sort(search.gallery.embeddings @ own)[::-1][:NEIGHBOURS]
    np.testing.assert_allclose(similarities, expected, atol=1e-5)


@pytest.fixture(scope="module")
def sets(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SafeSearch]:
    """The same photos, searched by a probabilistic embedding."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_MODELS_CACHE", str(tmp_path_factory.mktemp("other_cache")))
        later = Later(
            str(tiny_embedding_checkpoint(tmp_path_factory.mktemp("embedding"))), FolderSource(photos)
        )
        assert later.get() is later.get()
        yield later.get()


def test_a_credible_set_holds_the_photos_that_are_near_enough(sets: SafeSearch, tmp_path: Path) -> None:
    draw_image(99).save(tmp_path / "query.png")
    look = sets.look(str(tmp_path / "query.png"), "holiday.png")
    assert isinstance(look, Look)
    assert look.labels == []
    sizes = []
    for percent in (50, 95, 99):
        answer = sets.credible(look, percent)
        similarity = sets.gallery.embeddings @ look.prediction.embedding
        assert set(answer.found.rows) == set(np.flatnonzero(similarity >= answer.found.cosine))
        assert [each.item for each in answer.shown] == answer.found.rows[:SHOWN_OF_SET].tolist()
        assert answer.gallery_size == 20
        sizes.append(len(answer.found))
    assert sizes == sorted(sizes)


def test_a_model_without_concentrations_has_no_credible_sets(search: SafeSearch, look: Look) -> None:
    with pytest.raises(GalleryError, match="gives no concentration"):
        search.credible(look, 95)


def test_a_search_for_later_says_why_it_cannot_be_made_each_time(photos: Path) -> None:
    later = Later("no-such-model", FolderSource(photos))
    for _ in range(2):
        with pytest.raises(CheckpointError, match="no-such-model"):
            later.get()


def test_the_gallery_is_built_once_for_a_model_and_its_photos(
    search: SafeSearch, cache: Path, photos: Path, tiny_repository: Path
) -> None:
    [document] = cache.glob("galleries/*/gallery.json")
    built = document.stat().st_mtime_ns
    again = SafeSearch(str(tiny_repository), FolderSource(photos))
    assert len(again.gallery) == 20
    assert [document] == list(cache.glob("galleries/*/gallery.json"))
    assert document.stat().st_mtime_ns == built


def test_a_thumbnail_of_a_photo_that_is_gone_is_empty(
    cache: Path, tmp_path: Path, tiny_repository: Path
) -> None:
    folder = write_images(tmp_path / "photos", 2)
    search = SafeSearch(str(tiny_repository), FolderSource(folder))
    (folder / "0001.png").unlink()
    assert search.thumbnail(0).startswith("data:image/jpeg;base64,")
    assert search.thumbnail(1) == ""


def test_examples_are_images_called_by_what_they_show(tmp_path: Path) -> None:
    paths = example_photos(tmp_path)
    assert len({path.stem for path in paths}) == len(paths) >= 6
    for path in paths:
        Image.open(path).verify()
    assert not {path.stem for path in paths} & set(sample_photos().names)


def metadata() -> dict[str, Any]:
    return yaml.safe_load((SPACE / "README.md").read_text(encoding="utf-8").split("---")[1])


def requirements() -> dict[str, str]:
    lines = (SPACE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_every_requirement_is_pinned_to_the_version_that_is_tested_here() -> None:
    pinned = requirements()
    assert {name: version(name) for name in pinned} == pinned, (
        "test the Space and update its requirements.txt"
    )


def test_the_card_names_gradio_the_app_and_the_model_as_they_are() -> None:
    card = metadata()
    assert card["sdk"] == "gradio"
    assert card["sdk_version"] == requirements()["gradio"]
    assert (SPACE / card["app_file"]).is_file()
    assert card["models"] == [app.MODEL, app.EMBEDDING]
    assert {app.MODEL, app.EMBEDDING} <= {path.name for path in released_checkpoints()}


def test_a_gallery_folder_that_is_missing_ends_it_with_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "HUB_MODELS_GALLERY": str(tmp_path / "nowhere")}
    ran = subprocess.run(
        [sys.executable, str(SPACE / "app.py")], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.returncode == 1
    assert "nowhere: no such folder" in ran.stderr
    assert "Traceback" not in ran.stderr
