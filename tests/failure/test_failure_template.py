from __future__ import annotations

from pathlib import Path

import pytest
from openpyxl import load_workbook

from hub_models.failure.consistency import check_consistency
from hub_models.failure.table import examine_table
from hub_models.failure.template import QUESTIONS, write_template


@pytest.mark.parametrize("semantics", ["diez", "henrion"])
@pytest.mark.parametrize("experts", [["Anna"], ["Anna", "Ben", "Chloë"]])
def test_the_template_is_a_valid_table(tmp_path: Path, semantics: str, experts: list[str]) -> None:
    write_template(tmp_path / "template.xlsx", semantics, experts)  # type: ignore[arg-type]
    reading = examine_table(tmp_path / "template.xlsx")
    assert reading.problems == ()
    assert reading.table.semantics == semantics
    assert check_consistency(reading.table).consistent
    assert [each.expert for each in reading.table.failures[0].occurrence] == experts


def test_it_offers_ratings_names_and_instructions(tmp_path: Path) -> None:
    write_template(tmp_path / "template.xlsx", "henrion")
    workbook = load_workbook(tmp_path / "template.xlsx")
    assert workbook.sheetnames == ["Instructions", "Failures", "Relations", "Settings", "Ratings"]
    said = " ".join(str(row[0].value) for row in workbook["Instructions"].iter_rows())
    assert QUESTIONS["henrion"] in said
    choices = {
        str(rule.sqref): rule.formula1 for sheet in workbook for rule in sheet.data_validations.dataValidation
    }
    assert '"1,2,3,4,5,6,7,8,9,10"' in choices.values()
    assert any(formula.startswith("Failures!$A$2") for formula in choices.values())
    assert choices["B2"] == '"diez,henrion"'
