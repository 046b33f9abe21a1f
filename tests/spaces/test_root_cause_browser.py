"""The Space with the battery network, used by a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hub_models.failure.table import read_table

from .conftest import SPACES
from .serving import served

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

#: The classic worksheet: the occurrence is that of the cause, or of a failure without one.
FLAT = """\
process step,cause,failure,occurrence,trigger
mixing,wear,crack,7,6
mixing,crack,leak,{crack},6
mixing,,leak,8,
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(SPACES / "root_cause/app.py", tmp_path_factory.mktemp("space")) as address:
        yield address


def choose(tab: Page, label: str, name: str) -> None:
    """Pick a failure in a list by typing its name, as a person with 200 choices would."""
    box = tab.get_by_label(label, exact=True)
    box.click()
    box.fill(name)
    tab.get_by_role("option", name=re.compile(re.escape(name))).first.click()
    tab.keyboard.press("Escape")


def open_tab(tab: Page, name: str) -> None:
    tab.get_by_role("tab", name=name).click()


def upload(tab: Page, path: Path) -> None:
    open_tab(tab, "Table")
    tab.locator("input[type=file]").first.set_input_files(str(path))


def reject(tab: Page, number: str) -> None:
    """Take the tick from a repair; it comes back as a number that is kept."""
    tab.get_by_role("checkbox", name=re.compile(rf"1\. {re.escape(number)}: ")).uncheck()
    tab.get_by_role("checkbox", name=f"kept: {number}", exact=True).wait_for()


def test_tick_failures_read_the_ranking_and_fix_a_cause(tab: Page) -> None:
    choose(tab, "Present", "Pinholes in coating")
    ranking = tab.locator("#result .ranking li")
    ranking.first.wait_for()
    assert "Present: Pinholes in coating" in tab.locator("#result .verdict").inner_text()
    shares = [
        float(text.split("%")[0].strip("<")) for text in tab.locator(".ranking .number").all_inner_texts()
    ]
    assert shares == sorted(shares, reverse=True)
    top = ranking.first.locator(".name").inner_text().splitlines()[0]
    assert top in tab.locator("#result h2").inner_text()
    assert re.search(r"Exact|Sampled|Exact causes", tab.locator("#result .method").inner_text())
    drawing = tab.locator("#paths svg")
    assert top in drawing.get_attribute("aria-label")
    assert drawing.locator(".observed text").all_text_contents() == ["Pinholes in", "coating", "observed"]

    tab.get_by_role("checkbox", name=top).check()
    tab.locator("#result .what-if").wait_for()
    assert f"With {top} fixed" in tab.locator("#result .what-if").inner_text()
    assert top not in tab.locator("#result .ranking").inner_text()

    choose(tab, "Absent", top)
    tab.locator("#result .verdict", has_text=f"Absent: {top}").wait_for()
    assert tab.locator("#result .what-if").count() == 0  # new observations, no switch set
    tab.get_by_role("button", name="Start again").click()
    tab.locator("#result .welcome").wait_for()


def test_the_suggested_inspection_can_be_answered(tab: Page) -> None:
    tab.get_by_role("button", name="Show an example").click()
    ask = tab.locator("#ask strong")
    ask.wait_for()
    suggested = ask.inner_text()
    assert suggested == tab.locator("#result .next .name").first.inner_text().splitlines()[0]
    tab.get_by_role("button", name="It is not there").click()
    tab.locator("#result .verdict", has_text=f"Absent: {suggested}").wait_for()
    assert suggested not in tab.locator("#result .ranking").inner_text()


def test_a_failure_both_present_and_absent_is_refused_in_words(tab: Page) -> None:
    choose(tab, "Present", "Pinholes in coating")
    tab.locator("#result .ranking").wait_for()
    choose(tab, "Absent", "Pinholes in coating")
    tab.locator("#result .refusal", has_text="present and as absent").wait_for()


def test_a_table_with_a_cycle_is_refused_with_its_rows(tab: Page, tmp_path: Path) -> None:
    path = tmp_path / "cycle.csv"
    path.write_text(FLAT.format(crack=5) + "mixing,leak,wear,8,3\n")
    upload(tab, path)
    problems = tab.locator("#loaded .problems")
    problems.wait_for()
    told = problems.inner_text()
    assert "cycle.csv:" in told
    assert "a cycle, crack -> leak -> wear -> crack" in told
    assert "the meaning of the relations' numbers is not stated" in told
    open_tab(tab, "Root causes")
    assert "battery_fmea" in tab.locator("#result .welcome").inner_text()  # still in use


def test_an_uploaded_table_is_repaired_rejected_and_taken_home(tab: Page, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(FLAT.format(crack=1))  # a crack is rated far rarer than wear alone makes it
    upload(tab, path)
    tab.locator("#loaded .refusal", has_text="meaning").wait_for()
    tab.get_by_label("this cause alone (Diez)").check()
    tab.locator("#loaded .loaded", has_text="mine.csv: 3 failures").wait_for()

    open_tab(tab, "Consistency")
    assert "1 contradiction in mine.csv" in tab.locator("#findings h2").inner_text()
    assert "No contradiction is left" in tab.locator("#state").inner_text()
    reject(tab, "crack")
    tab.locator("#state .calm", has_text="1 number is kept").wait_for()
    assert "occurrence: crack" not in tab.locator("#changes").inner_text()
    reject(tab, "wear -> crack")
    reject(tab, "wear")  # was not to change at first
    tab.locator("#state .alarm", has_text="cannot be mended").wait_for()
    assert not tab.get_by_role("button", name="Make the repaired table").is_visible()
    for name in ("wear", "wear -> crack", "crack"):
        tab.get_by_role("checkbox", name=f"kept: {name}", exact=True).check()
        tab.get_by_role("checkbox", name=f"kept: {name}", exact=True).wait_for(state="detached")
    tab.locator("#state .calm", has_text="No contradiction is left").wait_for()
    assert tab.get_by_role("checkbox", name=re.compile(r"1\. crack: ")).is_checked()

    tab.get_by_role("button", name="Make the repaired table").click()
    link = tab.locator("a[download]").first
    link.wait_for()
    with tab.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "repaired.xlsx")
    before, after = read_table(path, "diez"), read_table(tmp_path / "repaired.xlsx")
    assert [each.name for each in after.failures] == [each.name for each in before.failures]
    crack = next(i for i, each in enumerate(before.failures) if each.name == "crack")
    numbers = [table.failures[crack].occurrence[0].probability for table in (before, after)]
    assert numbers[1] > numbers[0]

    open_tab(tab, "Root causes")
    choose(tab, "Present", "leak")
    tab.locator("#result .ranking", has_text="wear").wait_for()
    assert "Exact" in tab.locator("#result .method").inner_text()


def test_what_is_no_table_is_refused_by_name(tab: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.xlsx").write_bytes(b"PK\x03\x04 cut short")
    upload(tab, tmp_path / "broken.xlsx")
    refused = tab.locator("#loaded .refusal")
    refused.wait_for()
    assert "broken.xlsx" in refused.inner_text()
    assert "/" not in refused.inner_text().split("broken.xlsx")[0]


def test_it_can_be_used_on_a_narrow_screen_and_by_keyboard(tab: Page) -> None:
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.get_by_role("button", name="Show an example").focus()
    tab.keyboard.press("Enter")
    tab.locator("#paths svg").wait_for()
    fits = "document.documentElement.scrollWidth <= window.innerWidth"
    assert tab.evaluate(fits)
    for name in ("Consistency", "Table"):
        open_tab(tab, name)
        tab.wait_for_timeout(300)
        assert tab.evaluate(fits)
