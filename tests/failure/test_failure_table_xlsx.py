from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from openpyxl import load_workbook

from hub_models.failure.records import (
    FailureTable,
    Place,
)
from hub_models.failure.table import examine_table, read_table

from .worksheets import flat_csv, numbers, problems_of, workbook, write


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> FailureTable:
    return read_table(write(tmp_path_factory.mktemp("reference") / "fmea.csv", flat_csv()), "henrion")


def test_merged_cells_count_for_every_row(tmp_path: Path, reference: FailureTable) -> None:
    path = workbook(tmp_path / "fmea.xlsx", merge=True)
    assert load_workbook(path).active["A4"].value is None
    assert numbers(read_table(path, "henrion")) == numbers(reference)


def test_a_formula_counts_with_its_stored_value(tmp_path: Path, reference: FailureTable) -> None:
    path = workbook(tmp_path / "fmea.xlsx", formula="=2+3")
    (problem,) = problems_of(examine_table(path, "henrion"), "formula")
    assert problem.place == Place("Sheet", 3, "O")
    assert "without a stored value" in problem.found
    stored = tmp_path / "stored.xlsx"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(stored, "w") as target:
        for name in source.namelist():
            content = source.read(name).replace(b"<f>2+3</f><v />", b"<f>2+3</f><v>5</v>")
            target.writestr(name, content.replace(b"<f>2+3</f><v></v>", b"<f>2+3</f><v>5</v>"))
    assert numbers(read_table(stored, "henrion")) == numbers(reference)


def test_an_error_value_in_a_cell_is_a_problem(tmp_path: Path) -> None:
    book = load_workbook(workbook(tmp_path / "fmea.xlsx"))
    book.active["F3"] = "#REF!"
    book.save(tmp_path / "error.xlsx")
    (problem,) = problems_of(examine_table(tmp_path / "error.xlsx", "henrion"), "formula")
    assert "#REF!" in problem.found
