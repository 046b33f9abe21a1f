"""The Space with the released model, used by a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import app
import pytest
from example_photos import example_photos
from safe_search import NEIGHBOURS

from hub_models.sample_photos import sample_photos

from ..generated_images import draw_image
from .serving import served

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(Path(app.__file__), tmp_path_factory.mktemp("space")) as address:
        yield address


def upload(tab: Page, path: Path) -> None:
    tab.locator("input[type=file]").set_input_files(str(path))


def verdict(tab: Page, state: str) -> str:
    chosen = tab.locator(f"#result .verdict.{state}")
    chosen.wait_for()
    return " ".join(chosen.inner_text().split())


def test_upload_a_photo_read_the_answer_and_move_the_slider(tab: Page) -> None:
    photos = sample_photos()
    upload(tab, photos.paths[photos.names.index("coffee")])
    assert re.search(r"(More|uncertain) .* ordinary photos", verdict(tab, "answered"))
    assert "coffee.png" in verdict(tab, "answered")
    assert "espresso" in tab.locator("#result .labels").inner_text()
    cards = tab.locator("#result .neighbours figure")
    assert cards.count() == NEIGHBOURS
    assert "coffee" in cards.first.inner_text()
    assert "similarity 1.00" in cards.first.inner_text()
    assert all(
        cards.locator("img").evaluate_all("images => images.map(i => i.complete && i.naturalWidth > 0)")
    )

    slider = tab.get_by_role("slider")
    slider.fill("60")
    reason = tab.locator("#result .passed-over .reason").first
    reason.wait_for()
    assert re.search(
        r"more uncertain than [\d.]+% of the reference images \(limit 60%\)", reason.inner_text()
    )
    assert "limit 60%" in verdict(tab, "answered")

    slider.fill("1")
    assert "No answer: it is more uncertain than" in verdict(tab, "withheld")
    assert tab.locator("#result .neighbours").count() == 0

    slider.fill("100")
    verdict(tab, "answered")
    assert tab.locator("#result .passed-over").count() == 0


def test_a_credible_set_grows_with_its_probability(tab: Page) -> None:
    photos = sample_photos()
    upload(tab, photos.paths[photos.names.index("cat")])
    verdict(tab, "answered")
    tab.get_by_label("Credible set").check()
    chosen = tab.locator("#result .verdict", has_text="95% credible region")
    chosen.wait_for()
    assert "chelsea.png" in chosen.inner_text()
    cards = tab.locator("#result .neighbours figure")
    assert "similarity 1.00" in cards.first.inner_text()
    pattern = r"(\d+) of 21 photos are in its (\d+)% credible region"
    large = int(re.search(pattern, chosen.inner_text())[1])

    slider = tab.get_by_role("slider")
    assert slider.count() == 1
    slider.fill("50")
    chosen = tab.locator("#result .verdict", has_text="50% credible region")
    chosen.wait_for()
    assert 1 <= int(re.search(pattern, chosen.inner_text())[1]) <= large

    tab.get_by_label("Nearest photos").check()
    tab.locator("#result .verdict.answered", has_text="limit 90%").wait_for()
    assert cards.count() == NEIGHBOURS


def test_a_text_file_that_calls_itself_a_photo_gets_a_readable_message(tab: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no image")
    upload(tab, tmp_path / "notes.jpg")
    refused = tab.locator("#result .refusal")
    refused.wait_for()
    assert "notes.jpg: not an image; pass a JPEG, PNG, WebP or similar file" in refused.inner_text()
    tab.get_by_role("slider").fill("50")  # still the message, not an error
    tab.wait_for_timeout(1000)
    assert "notes.jpg: not an image" in refused.inner_text()
    assert "Traceback" not in tab.content()

    tab.get_by_label("Remove Image").click()
    tab.locator("#result .welcome").wait_for()
    draw_image(0, side=200).save(tmp_path / "drawn.png")
    upload(tab, tmp_path / "drawn.png")
    tab.locator("#result .verdict").wait_for()


def test_a_text_file_is_refused_before_it_is_sent(tab: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    upload(tab, tmp_path / "notes.txt")
    tab.get_by_text("Invalid file type: notes.txt").wait_for()
    assert tab.locator("#result .welcome").is_visible()


def test_every_example_gives_a_verdict_on_a_telephone_too(tab: Page, tmp_path: Path) -> None:
    tab.set_viewport_size({"width": 390, "height": 844})
    buttons = tab.locator("#examples button")
    names = [path.name for path in example_photos(tmp_path)]
    assert buttons.count() == len(names)
    for index, name in enumerate(names):
        buttons.nth(index).click()
        tab.locator("#result .verdict", has_text=name).wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
