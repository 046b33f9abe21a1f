from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from openpyxl import load_workbook

from hub_models.errors import FailureTableError
from hub_models.failure.consistency import check_consistency
from hub_models.failure.records import FailureTable
from hub_models.failure.repair import Repair, opinions_of, repair
from hub_models.failure.repair_genetic import evolved
from hub_models.failure.repair_report import accept, changes_of, save_html, to_html, to_pandas
from hub_models.failure.table import read_table
from hub_models.failure.table_writing import write_table
from hub_models.failure.write_back import REPORT, write_back

from .generated_tables import plant, random_table, rated
from .test_failure_repair import _lowered


@pytest.fixture(scope="module")
def mended() -> Repair:
    return repair(plant(random_table(30, 2), 3, 2)[0])


def test_every_changed_number_is_reported(mended: Repair) -> None:
    changes = changes_of(mended)
    pairs = zip(opinions_of(mended.before), opinions_of(mended.after), strict=True)
    changed = [(old, new) for old, new in pairs if old != new]
    assert [(each.old, each.new, each.expert) for each in changes] == [
        (old.probability, new.probability, old.expert) for old, new in changed
    ]
    for change in changes:
        assert change.kind in ("occurrence", "trigger")
        assert change.reason
        assert change.place
    frame = to_pandas(changes)
    assert len(frame) == len(changes)
    assert frame["old_rating"].isna().all()  # the table gave probabilities


def test_reasons_name_the_contradiction(mended: Repair) -> None:
    stated = {finding.failure: finding.stated for finding in check_consistency(mended.before).findings}
    for change in changes_of(mended):
        if change.kind == "occurrence" and change.what in stated:
            assert f"is stated at {stated[change.what]:.3g}" in change.reason


def test_the_page_escapes_what_the_table_says() -> None:
    table = plant(random_table(30, 2), 1, 2)[0]
    evil = '<script>alert("x")</script> & <b>'
    renamed = {failure.name: f"{failure.name}{evil}" for failure in table.failures}
    table = replace(
        table,
        failures=tuple(replace(each, name=renamed[each.name]) for each in table.failures),
        relations=tuple(
            replace(each, cause=renamed[each.cause], effect=renamed[each.effect]) for each in table.relations
        ),
    )
    page = to_html(changes_of(repair(table)), evil)
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
    assert re.findall(r"<h1>(.*)</h1>", page)[0].startswith("&lt;script")


def test_a_page_is_written(mended: Repair, tmp_path: Path) -> None:
    save_html(changes_of(mended), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<tr>") == 1 + len(changes_of(mended))


def test_changes_are_accepted_one_by_one(mended: Repair) -> None:
    changes = changes_of(mended)
    assert accept(mended.before, changes) == mended.after
    assert accept(mended.before, []) == mended.before
    some = accept(mended.before, changes[:2])
    differing = [a != b for a, b in zip(opinions_of(some), opinions_of(mended.before), strict=True)]
    assert sum(differing) == 2


def _numbers(table: FailureTable) -> list[tuple[str, float]]:
    return [(opinion.expert, opinion.probability) for opinion in opinions_of(table)]


@pytest.mark.parametrize("solver", [None, evolved])
def test_repairs_come_back_from_the_workbook(tmp_path: Path, solver: object) -> None:
    write_table(_lowered(rated(random_table(30, 1)), 3, 1), tmp_path / "table.xlsx")
    workbook = load_workbook(tmp_path / "table.xlsx")
    workbook["Failures"]["Z1"] = "my own column"
    workbook["Failures"]["Z2"] = "=1+1"
    workbook.save(tmp_path / "table.xlsx")
    result = repair(read_table(tmp_path / "table.xlsx"), solver)  # type: ignore[arg-type]
    changes = changes_of(result)
    assert changes
    write_back(tmp_path / "table.xlsx", changes, tmp_path / "new.xlsx")
    again = read_table(tmp_path / "new.xlsx")
    assert sorted(_numbers(again)) == sorted(_numbers(result.after))
    assert check_consistency(again).consistent
    kept = load_workbook(tmp_path / "new.xlsx")
    assert kept["Failures"]["Z2"].value == "=1+1"
    assert kept[REPORT].max_row == 1 + len(changes)
    comments = [cell.comment.text for row in kept["Failures"].iter_rows() for cell in row if cell.comment]
    assert all(text.startswith("was: rating") for text in comments)
    write_back(tmp_path / "new.xlsx", [], tmp_path / "new.xlsx")  # the sheet is replaced, not added
    assert load_workbook(tmp_path / "new.xlsx").sheetnames.count(REPORT) == 1


def test_repairs_come_back_into_merged_and_repeated_cells(tmp_path: Path) -> None:
    from openpyxl import Workbook

    workbook = Workbook()
    sheet = workbook.active
    sheet.append(["cause", "effect", "occurrence probability (Ann)", "trigger (Ann)"])
    for row in (["a", "x", 0.1, 9], ["a", "y", None, 9], ["x", "", 0.001, None], ["y", "", 0.002, None]):
        sheet.append(row)
    sheet.merge_cells("A2:A3")
    sheet.merge_cells("C2:C3")
    workbook.save(tmp_path / "flat.xlsx")
    table = read_table(tmp_path / "flat.xlsx", "diez")
    result = repair(table)
    write_back(tmp_path / "flat.xlsx", changes_of(result), tmp_path / "new.xlsx")
    again = read_table(tmp_path / "new.xlsx", "diez")
    assert _numbers(again) == _numbers(result.after)


def test_a_workbook_that_changed_since_is_refused(mended: Repair, tmp_path: Path) -> None:
    write_table(random_table(5, 0, causes=0, experts=1), tmp_path / "other.xlsx")
    with pytest.raises(FailureTableError, match="read the table again"):
        write_back(tmp_path / "other.xlsx", changes_of(mended), tmp_path / "new.xlsx")
