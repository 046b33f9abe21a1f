"""The Space with the released generators, used by a real browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from hub_models.generation.digits import load_digits

from ..pipelines.spell import tiny_pipelines
from .conftest import SPACES
from .serving import PATIENCE, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(SPACES / "shielded_generation/app.py", tmp_path_factory.mktemp("space")) as address:
        yield address


def distances(tab: Page) -> list[float]:
    texts = tab.locator("#result .distance").all_inner_texts()
    return [float(re.search(r"Distance ([\d.]+)", text)[1]) for text in texts]


def generate(tab: Page) -> list[float]:
    tab.get_by_role("button", name="Generate", exact=True).click()
    tab.locator("#result .verdict").wait_for()
    return distances(tab)


def test_the_copy_is_inside_without_the_shield_and_outside_with_it(tab: Page) -> None:
    plain, shielded = generate(tab)
    radius = float(tab.get_by_role("spinbutton", name=re.compile("Radius")).input_value())
    assert plain < radius <= shielded
    assert "copy" in tab.locator("#result .verdict h2").inner_text()
    images = tab.locator("#result img")
    assert images.count() == 4
    assert all(images.evaluate_all("images => images.map(i => i.complete && i.naturalWidth > 0)"))
    assert tab.locator("#result .steps i.on").count() > 0


def test_an_own_picture_is_protected(tab: Page, tmp_path: Path) -> None:
    digits = load_digits("train")
    picture = tmp_path / "mine.png"
    three = next(i for i in range(64) if int(digits.labels[i]) == 3)
    Image.fromarray(digits.pixels[three, 0].numpy()).save(picture)
    tab.get_by_label("my own pictures").check()
    tab.get_by_role("button", name="Generate", exact=True).click()
    assert "upload a picture" in tab.locator("#result .refusal").inner_text()
    tab.locator("input[type=file]").set_input_files(str(picture))
    tab.get_by_text("mine.png").first.wait_for()
    tab.get_by_role("button", name="Generate", exact=True).click()
    tab.locator("#result .pair").wait_for()
    assert "1 protected image" in tab.locator("#result").inner_text()
    assert "mine.png" in tab.locator("#result figcaption").nth(1).inner_text()


def test_a_drawing_is_protected(tab: Page) -> None:
    tab.get_by_label("my drawing").check()
    sheet = tab.locator("#drawing canvas").first
    sheet.wait_for()
    tab.get_by_role("button", name="Generate", exact=True).click()
    assert "draw a digit first" in tab.locator("#result .refusal").inner_text()
    tab.locator("#drawing").get_by_label("Brush").click()
    box = sheet.bounding_box()
    across, middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(across, middle - 60)
    tab.mouse.down()
    tab.mouse.move(across, middle + 60, steps=12)  # a one
    tab.mouse.up()
    tab.wait_for_timeout(1000)  # the page sends the drawing a moment later
    tab.get_by_role("button", name="Generate", exact=True).click()
    tab.locator("#result .pair").wait_for()
    assert "1 protected image" in tab.locator("#result").inner_text()
    assert "my drawing" in tab.locator("#result figcaption").nth(1).inner_text()


def test_what_is_no_picture_is_refused_by_name(tab: Page, tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("hello")
    tab.get_by_label("my own pictures").check()
    tab.locator("input[type=file]").set_input_files(str(tmp_path / "note.png"))
    tab.get_by_text("note.png").first.wait_for()
    tab.get_by_role("button", name="Generate", exact=True).click()
    refusal = tab.locator("#result .refusal")
    refusal.wait_for()
    assert "note.png" in refusal.inner_text()


def test_the_diversity_grid_shows_both_batches(tab: Page) -> None:
    tab.get_by_role("tab", name="Diversity").click()
    tab.get_by_role("button", name="Generate twelve").click()
    tab.locator("#diversity .verdict").wait_for()
    assert tab.locator("#diversity img").count() == 24
    means = [float(text.split(":")[1]) for text in tab.locator("#diversity .distance").all_inner_texts()]
    assert means[1] > means[0]


def test_a_text_to_image_model_by_a_setting(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_pipelines.stable_diffusion().save_pretrained(tmp_path / "model")
    Image.effect_noise((40, 60), 50).convert("RGB").save(tmp_path / "mine.png")
    monkeypatch.setenv("HUB_MODELS_TEXT_TO_IMAGE", str(tmp_path / "model"))
    with served(SPACES / "shielded_generation/app.py", tmp_path) as address:
        tab = browser.new_page(viewport={"width": 1280, "height": 1000})
        tab.set_default_timeout(PATIENCE)
        tab.goto(address)
        tab.get_by_role("button", name="Generate", exact=True).click()
        tab.locator("#result .refusal").wait_for()
        tab.get_by_label("Prompt").fill("a cat")
        tab.locator("input[type=file]").set_input_files(str(tmp_path / "mine.png"))
        tab.get_by_text("mine.png").first.wait_for()
        tab.get_by_role("button", name="Generate", exact=True).click()
        tab.locator("#result .pair").wait_for()
        assert "mine.png" in tab.locator("#result figcaption").nth(1).inner_text()
        assert len(distances(tab)) == 2
        tab.close()


def test_a_model_that_cannot_be_had_ends_the_app_with_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SPACES / "shielded_generation/app.py")],
        env=os.environ | {"HUB_MODELS_TEXT_TO_IMAGE": str(tmp_path / "nothing"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "error: HUB_MODELS_TEXT_TO_IMAGE=" in done.stderr
    assert "its weights cannot be had" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_can_be_used_on_a_narrow_screen_and_by_keyboard(tab: Page) -> None:
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.get_by_role("button", name="Generate", exact=True).focus()
    tab.keyboard.press("Enter")
    tab.locator("#result .verdict").wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
