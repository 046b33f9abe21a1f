"""The Spaces' modules can be imported, as when Python runs their app.py; and a real browser to use them with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .serving import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SPACES = Path(__file__).parents[2] / "spaces"
# `app` is the first one's; tests of the others import modules of unique names and run app.py by its path.
sys.path[:0] = [str(SPACES / name) for name in ("safe_retrieval", "shielded_generation", "root_cause")]

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser: Browser, url: str) -> Iterator[Page]:
    """The module's Space in a fresh tab; afterwards, that it raised no error and asked no other server."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(PATIENCE)
    errors: list[str] = []
    asked: set[str] = set()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.add(request.url))
    page.goto(url)
    page.locator("#result .welcome").wait_for()
    yield page
    page.close()
    assert errors == []
    assert {address for address in asked if not address.startswith((url, "data:", "blob:"))} == set()
