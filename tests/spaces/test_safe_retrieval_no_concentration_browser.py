"""The Space started with a model that has no concentrations, used by a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import app
import pytest

from hub_models.sample_photos import sample_photos

from .serving import served

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_MODELS_EMBEDDING", app.MODEL)
        with served(Path(app.__file__), tmp_path_factory.mktemp("space")) as address:
            yield address


def test_choosing_credible_sets_says_why_there_are_none(tab: Page) -> None:
    tab.locator("input[type=file]").set_input_files(str(sample_photos().paths[0]))
    tab.locator("#result .verdict").wait_for()
    tab.get_by_label("Credible set").check()
    refused = tab.locator("#result .refusal")
    refused.wait_for()
    assert "No credible set" in refused.inner_text()
    assert "gives no concentration" in refused.inner_text()
    tab.get_by_label("Nearest photos").check()
    tab.locator("#result .verdict").wait_for()
