from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hub_models.errors import GalleryError
from hub_models.image_sources import FolderSource
from hub_models.retrieval import Gallery
from hub_models.retrieval import map as map_module
from hub_models.retrieval import map_page as page_module
from hub_models.retrieval.map import GalleryMap, groups_by_class, lay_out
from hub_models.retrieval.map_page import save_page
from hub_models.retrieval.map_picture import save_picture

from .conftest import random_gallery

pytestmark = pytest.mark.filterwarnings("ignore::hub_models.prediction.OutsideReferenceWarning")

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{figure}}.png"


def details_of(page: Path) -> list[dict]:
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="images">(.*?)</script>', text, re.S)[1])


def placed_anywhere(gallery: Gallery) -> GalleryMap:
    """A map without the work of t-SNE."""
    count = len(gallery)
    positions = np.random.default_rng(0).standard_normal((count, 2))
    items = np.arange(count)
    return GalleryMap(gallery, items, positions, np.linspace(0, 1, count), groups_by_class(gallery, items))


def test_similar_images_lie_together():
    gallery = random_gallery(40, classes=2)
    centres = np.eye(6, dtype=np.float32)[gallery.labels]
    gallery_map = lay_out(dataclasses.replace(gallery, embeddings=centres + 0.01 * gallery.embeddings))
    left, right = (gallery_map.positions[gallery.labels == label] for label in (0, 1))
    spread = max(np.linalg.norm(side - side.mean(axis=0), axis=1).mean() for side in (left, right))
    assert np.linalg.norm(left.mean(axis=0) - right.mean(axis=0)) > 1.5 * spread


def test_certainty_goes_from_the_most_to_the_least_certain_and_ties_are_alike():
    gallery = dataclasses.replace(
        random_gallery(5), uncertainty=np.array([3.0, 1, 2, 2, 9], dtype=np.float32)
    )
    np.testing.assert_allclose(lay_out(gallery).certainty, [0.25, 1, 0.625, 0.625, 0])


def test_the_same_seed_gives_the_same_map():
    gallery = random_gallery(20)
    assert (lay_out(gallery).positions == lay_out(gallery).positions).all()


def test_a_large_gallery_is_sampled_and_the_map_says_so(monkeypatch):
    monkeypatch.setattr(map_module, "MAX_POINTS", 12)
    gallery_map = lay_out(random_gallery(30, classes=3))
    assert gallery_map.note == "a random sample of 12 of 30 images"
    assert len(set(gallery_map.items)) == len(gallery_map.positions) == 12
    assert sorted(np.concatenate([group.points for group in gallery_map.groups])) == list(range(12))
    assert lay_out(random_gallery(5)).note == "5 images"


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_are_refused(count):
    with pytest.raises(GalleryError, match=f"at least 3 images, the gallery has {count}"):
        lay_out(random_gallery(count))


@pytest.mark.parametrize("count", [3, 4, 10])
def test_small_galleries_and_equal_images_have_a_map(count):
    gallery = random_gallery(count)
    for embeddings in (gallery.embeddings, np.repeat(gallery.embeddings[:1], count, axis=0)):
        assert np.isfinite(lay_out(dataclasses.replace(gallery, embeddings=embeddings)).positions).all()


def test_the_most_frequent_classes_have_colours_and_the_rest_share_one():
    labels = np.repeat(np.arange(10), np.arange(3, 13))
    gallery = dataclasses.replace(
        random_gallery(len(labels)), labels=labels, class_names=[f"class {c}" for c in range(10)]
    )
    groups = groups_by_class(gallery, np.arange(len(labels)))
    assert [group.name for group in groups] == [*(f"class {c}" for c in range(9, 2, -1)), "3 other classes"]
    assert len({group.colour for group in groups}) == 8
    for group in groups[:7]:
        assert {f"class {c}" for c in labels[group.points]} == {group.name}


def test_without_labels_there_is_one_group():
    (group,) = groups_by_class(random_gallery(5), np.arange(5))
    assert (group.name, group.points.tolist()) == ("images", [0, 1, 2, 3, 4])


def test_the_page_needs_no_network_and_holds_details_and_thumbnails(gallery_folder, photos, tmp_path):
    gallery = Gallery.open(gallery_folder)
    save_page(placed_anywhere(gallery), tmp_path / "map.html", FolderSource(photos))
    text = (tmp_path / "map.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", text)
    details = details_of(tmp_path / "map.html")
    assert [detail["name"] for detail in details] == gallery.names
    assert {detail["class"] for detail in details} == {"heron", "stork"}
    assert all(detail["thumbnail"].startswith("data:image/jpeg;base64,") for detail in details)
    np.testing.assert_allclose([d["percentile"] for d in details], gallery.percentiles, atol=1e-4)


def test_thumbnails_have_a_cap_and_lost_images_none(gallery_folder, photos, tmp_path, monkeypatch):
    gallery_map = placed_anywhere(Gallery.open(gallery_folder))
    monkeypatch.setattr(page_module, "MAX_THUMBNAILS", 5)
    save_page(gallery_map, tmp_path / "map.html", FolderSource(photos))
    assert sum(detail["thumbnail"] is not None for detail in details_of(tmp_path / "map.html")) == 5
    save_page(gallery_map, tmp_path / "map.html", FolderSource(photos / "stork"))
    assert not any(detail["thumbnail"] for detail in details_of(tmp_path / "map.html"))


def test_a_name_cannot_put_code_into_the_page(tmp_path):
    gallery = random_gallery(4, classes=1)
    gallery = dataclasses.replace(gallery, names=[HOSTILE, "a", "b", "c"], class_names=[HOSTILE])
    save_page(placed_anywhere(gallery), tmp_path / "map.html")
    text = (tmp_path / "map.html").read_text()
    assert "<script>alert(1)" not in text
    assert "<img src=x" not in text
    assert text.count('id="map"') == 1
    assert details_of(tmp_path / "map.html")[0]["name"] == HOSTILE
    assert "&lt;script&gt;alert(1)&lt;" in text.replace("\\u0026", "&")  # what the hover shows


@pytest.mark.parametrize("classes", [0, 3, 12])
def test_the_picture_has_all_its_colours(tmp_path, classes):
    gallery_map = placed_anywhere(random_gallery(150, classes=classes))
    save_picture(gallery_map, tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as picture:
        assert min(picture.size) > 1000
        colours = {colour for _, colour in picture.convert("RGB").getcolors(10**7)}
    for group in gallery_map.groups:
        wanted = [int(group.colour[i : i + 2], 16) for i in (1, 3, 5)]
        # The legend shows them opaque where there are classes.
        tolerance = 0 if classes else 40
        assert (
            min(max(abs(a - b) for a, b in zip(wanted, colour, strict=True)) for colour in colours)
            <= tolerance
        )


def test_class_names_are_never_read_as_formulas(tmp_path):
    gallery = dataclasses.replace(
        random_gallery(4, classes=1), class_names=[r"$\frac{$ and _more_ " + "long " * 20]
    )
    save_picture(placed_anywhere(gallery), tmp_path / "map.png")


@pytest.mark.browser
def test_hovering_shows_the_image_and_a_click_keeps_it(gallery_folder, photos, tmp_path):
    from playwright.sync_api import sync_playwright

    gallery = Gallery.open(gallery_folder)
    save_page(placed_anywhere(gallery), tmp_path / "map.html", FolderSource(photos))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "map.html").as_uri())
        points = page.locator(".scatterlayer .point")
        points.first.wait_for()
        # The last point drawn lies on top of all others.
        box = points.nth(len(gallery) - 1).bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.locator("#details img").wait_for()
        name = page.locator("#details img").get_attribute("alt")
        assert name in gallery.names
        assert page.locator("#details dd").first.inner_text() == name
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.move(5, 300)
        assert page.locator("#details img").get_attribute("alt") == name
        assert errors == []
        browser.close()
