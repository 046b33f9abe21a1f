from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from openpyxl import Workbook, load_workbook

from hub_models.errors import FailureTableError
from hub_models.failure.records import (
    InvalidTableError,
    Place,
    Relation,
)
from hub_models.failure.table import examine_table, read_table
from hub_models.failure.table_writing import write_table

from .generated_tables import random_table, rated
from .worksheets import problems_of, workbook, write


@pytest.mark.parametrize("ending", [".csv", ".xlsx", ".json"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02 binary"])
def test_files_that_are_not_tables(tmp_path: Path, ending: str, content: bytes) -> None:
    with pytest.raises(FailureTableError, match=f"fmea{ending}"):
        read_table(write(tmp_path / f"fmea{ending}", content), "diez")


def test_files_cut_short(tmp_path: Path) -> None:
    whole = workbook(tmp_path / "whole.xlsx").read_bytes()
    with pytest.raises(FailureTableError, match="cut short"):
        read_table(write(tmp_path / "cut.xlsx", whole[: len(whole) // 2]), "diez")
    with pytest.raises(FailureTableError, match="cut short"):
        read_table(write(tmp_path / "cut.json", '[{"cause": "a", "eff'), "diez")
    quoted = 'cause,effect,trigger\na,b,5\nc,"b and'
    with pytest.raises(FailureTableError, match="cut short"):
        read_table(write(tmp_path / "quoted.csv", quoted), "diez")
    with pytest.raises(InvalidTableError, match="ends within this row, after 2 of 3 cells"):
        read_table(write(tmp_path / "cut.csv", "cause,effect,trigger\na,b,5\nc,b"), "diez")


def test_an_unknown_ending_a_missing_file_and_an_incomplete_folder(tmp_path: Path) -> None:
    with pytest.raises(FailureTableError, match="not from"):
        read_table(tmp_path / "fmea.pdf", "diez")
    with pytest.raises(FailureTableError, match="no such file"):
        read_table(tmp_path / "fmea.csv", "diez")
    write(tmp_path / "failures.csv", "failure\na\n")
    with pytest.raises(FailureTableError, match=r"failures\.csv and relations\.csv"):
        read_table(tmp_path, "diez")


@pytest.mark.parametrize("text", ["failure,occurrence\n", "cause,effect,trigger\n", "nothing,of\nuse,here\n"])
def test_tables_without_content(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidTableError):
        read_table(write(tmp_path / "fmea.csv", text), "diez")


BAD_NUMBERS = [
    ("occurrence", "11", "1 to 10"),
    ("occurrence", "0", "1 to 10"),
    ("occurrence", "0,3", "occurrence probability"),
    ("occurrence", "NaN", "a number"),
    ("occurrence", "often", "a number"),
    ("occurrence", "7-8", "a number"),
    ("occurrence", "1_0", "a number"),
    ("trigger", "-1", "1 to 10"),
    ("trigger", "inf", "a number"),
    ("occurrence probability", "1,5", "0 to 1"),
    ("occurrence probability", "-0.1", "0 to 1"),
    ("occurrence probability", "150 %", "0 to 1"),
    ("trigger probability", "nan", "a number"),
    ("trust", "0", "above 0"),
]


@pytest.mark.parametrize(("column", "cell", "expected"), BAD_NUMBERS)
def test_numbers_out_of_range(tmp_path: Path, column: str, cell: str, expected: str) -> None:
    header = ["cause", "effect", "occurrence", "trigger"]
    row = ["a", "b", "5", "5"]
    if column in header:
        row[header.index(column)] = cell
    else:
        header, row = [*header, column], [*row, cell]
    text = ";".join(header) + "\n" + ";".join(row) + "\n"
    (problem,) = problems_of(examine_table(write(tmp_path / "fmea.csv", text), "diez"), "number")
    assert problem.place == Place("fmea.csv", 2, column)
    assert repr(cell) in problem.found
    assert expected in problem.expected


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path / "failures.csv", "failure,occurrence (A)\na,11\nb,5\n,4\nc,x\n")
    write(tmp_path / "relations.csv", "cause,effect,trigger (A)\na,bb,5\na,a,3\nb,,2\nb,c,0\n")
    with pytest.raises(InvalidTableError) as caught:
        read_table(tmp_path)
    kinds = sorted(problem.kind for problem in caught.value.problems)
    assert kinds == [
        *("no name", "no name", "no trigger", "number", "number", "number"),
        *("self-loop", "semantics", "unknown failure"),
    ]
    assert str(len(kinds)) in str(caught.value)


def test_one_expert_with_two_numbers(tmp_path: Path) -> None:
    text = "cause,effect,trigger,occurrence,expert\na,b,5,4,Anna\na,b,6,4,Anna\na,b,6,3,Ben\n"
    reading = examine_table(write(tmp_path / "fmea.csv", text), "diez")
    (problem,) = [each for each in reading.problems if each.fatal]
    assert problem.kind == "two numbers"
    assert problem.place == Place("fmea.csv", 3, "trigger")
    assert "'Anna' says 6 here, 5 in fmea.csv, row 2" in problem.found


def test_columns_twice_and_out_of_place(tmp_path: Path) -> None:
    text = "cause,effect,trigger,relation,setting,occurrence\na,b,5,6,x,4\n"
    reading = examine_table(write(tmp_path / "fmea.csv", text), "diez")
    assert [problem.fatal for problem in problems_of(reading, "column")] == [True, False]


def test_settings_scales_and_experts(tmp_path: Path) -> None:
    table = rated(random_table(12, 0, causes=1.5))
    write_table(table, tmp_path / "fmea")
    write(
        tmp_path / "fmea" / "settings.csv",
        "setting,value\nsemantics,Diez\noccurrence_scale,nonsense\nsemantic,x\nstages,step 0 > step 1\n",
    )
    write(tmp_path / "fmea" / "experts.csv", "expert,trust\nE0,3\nE1,-1\n")
    write(tmp_path / "fmea" / "ratings.csv", "rating,trigger\n1,0.5\n2,0.4\n")
    reading = examine_table(tmp_path / "fmea")
    kinds = {problem.kind for problem in reading.problems}
    assert {"setting", "trust", "rating scale", "unknown step"} <= kinds
    assert [p.expected for p in reading.problems if "'semantic'" in p.found] == ["'semantics'?"]


def test_own_scales_replace_the_named_ones(tmp_path: Path) -> None:
    write_table(rated(random_table(12, 0, causes=1.5)), tmp_path / "fmea")
    own = "rating;occurrence;trigger\n" + "".join(f"{r};{r / 1000:.3f};{r * 9} %\n" for r in range(1, 11))
    write(tmp_path / "fmea" / "ratings.csv", own.replace(".", ","))
    table = read_table(tmp_path / "fmea")
    assert table.occurrence_scale.probability(7) == pytest.approx(0.007)
    assert table.trigger_scale.probability(10) == pytest.approx(0.9)
    for opinion in table.failures[0].occurrence:
        assert opinion.probability == pytest.approx((opinion.rating or 0) / 1000)


def test_a_hundred_thousand_rows(tmp_path: Path) -> None:
    rows = "".join(f"step {i // 1000},f{i},f{i + 1},{i % 10 + 1},{i % 7 + 1},Anna\n" for i in range(100_000))
    text = "process step,cause,effect,trigger,occurrence,expert\n" + rows
    table = read_table(write(tmp_path / "fmea.csv", text), "diez")
    assert len(table.relations) == 100_000
    assert len(table.failures) == 100_001


@pytest.mark.slow
def test_a_workbook_of_a_hundred_thousand_rows(tmp_path: Path) -> None:
    """Read cell by cell: about ten seconds and a quarter of a gigabyte."""
    book = Workbook(write_only=True)
    failures, relations = book.create_sheet("Failures"), book.create_sheet("Relations")
    failures.append(["failure", "process step", "occurrence (Anna)"])
    relations.append(["cause", "effect", "trigger (Anna)"])
    for i in range(20_000):
        failures.append([f"f{i}", f"step {i // 2000}", 1 + i % 9])
        for back in range(1, min(i, 4) + 1):
            relations.append([f"f{i - back}", f"f{i}", 1 + i % 5])
    book.save(tmp_path / "fmea.xlsx")
    table = read_table(tmp_path / "fmea.xlsx", "diez")
    assert len(table.failures) == 20_000
    assert len(table.relations) == 79_990


FORMULAS = [
    "=1+1",
    '=HYPERLINK("http://x")',
    "+A1",
    "-2+3",
    "@SUM(A1)",
    "'=quoted",
    "'plain",
    "\uff1dcmd",
    "%x",
    "|y",
]


@pytest.mark.parametrize("ending", [".xlsx", ""])
def test_no_name_becomes_a_formula(tmp_path: Path, ending: str) -> None:
    table = random_table(len(FORMULAS), 0, causes=0)
    failures = tuple(replace(each, name=name) for each, name in zip(table.failures, FORMULAS, strict=True))
    relation = Relation(FORMULAS[0], FORMULAS[1], failures[0].occurrence, "=2", Place("", 0))
    table = replace(table, failures=failures, relations=(relation,))
    write_table(table, tmp_path / f"table{ending}")
    if ending:
        book = load_workbook(tmp_path / "table.xlsx")
        assert not [c for sheet in book for row in sheet.iter_rows() for c in row if c.data_type == "f"]
    else:
        cells = [
            cell
            for file in (tmp_path / "table").iterdir()
            for row in csv.reader(file.read_text().splitlines())
            for cell in row
        ]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "%", "|", "\uff1d"))]
    again = read_table(tmp_path / f"table{ending}")
    assert [failure.name for failure in again.failures] == FORMULAS
