"""The three Spaces have one manner: narrow screens, the dark mode, the keyboard, words for every picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import SPACES
from .serving import served

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: Space -> its main control, as a CSS selector; what comes of it is shown below ``#result``.
MAIN_CONTROL = {
    "root_cause": "button:has-text('Show an example')",
    "safe_retrieval": "#examples button >> nth=0",
    "shielded_generation": "button:text-is('Generate')",
}
MOST_TABS = 40
FITS = "document.documentElement.scrollWidth <= window.innerWidth"
WITHOUT_WORDS = "images => images.filter(i => !i.hasAttribute('alt')).map(i => i.outerHTML.slice(0, 200))"
LOOK = """control => {
    const { outlineStyle, outlineWidth, boxShadow, borderColor, backgroundColor } = getComputedStyle(control);
    return [outlineStyle, outlineWidth, boxShadow, borderColor, backgroundColor].join();
}"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", params=sorted(MAIN_CONTROL))
def space(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def url(space: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(SPACES / space / "app.py", tmp_path_factory.mktemp("space")) as address:
        yield address


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_narrow_screen_by_keyboard_alone(
    tab: Page, space: str, url: str, theme: str, tmp_path: Path
) -> None:
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.goto(f"{url}/?__theme={theme}")
    tab.locator("#result .welcome").wait_for()
    control = tab.locator(MAIN_CONTROL[space])
    control.wait_for()
    for _ in range(MOST_TABS):
        tab.keyboard.press("Tab")
        if control.evaluate("control => control === document.activeElement"):
            break
    else:
        pytest.fail(f"{MOST_TABS} times Tab do not lead to {MAIN_CONTROL[space]}")
    tab.wait_for_timeout(300)  # the look of a button changes gently
    focused = control.evaluate(LOOK)
    assert tab.evaluate(FITS)
    tab.keyboard.press("Enter")
    tab.locator("#result .verdict").wait_for()
    tab.wait_for_timeout(300)
    assert tab.evaluate(FITS)
    assert tab.locator("img").evaluate_all(WITHOUT_WORDS) == []
    assert tab.locator("#result").evaluate("e => e.closest('.dark') !== null") == (theme == "dark")
    tab.screenshot(path=tmp_path / f"{space}-{theme}.png", full_page=True)
    control.evaluate("control => control.blur()")
    tab.wait_for_timeout(300)
    assert control.evaluate(LOOK) != focused
