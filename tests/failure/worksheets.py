"""A small classic worksheet, as text and as a workbook, and what experts say in it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from openpyxl import Workbook

from hub_models.failure.records import (
    FailureTable,
    Problem,
)
from hub_models.failure.table import Reading

HEADER = (
    "Process step",
    "Failure mode",
    "Effect",
    "Cause",
    "S",
    "O",
    "D",
    "Trigger",
    "Effect trigger",
    "Expert",
)
ROWS = (
    ("coating", "Größe uneven", "cell fails", "die worn", "7", "5", "3", "8", "6", "Anna"),
    ("coating", "Größe uneven", "cell fails", "slurry thick", "7", "4", "4", "6", "6", "Anna"),
    ("mixing", "slurry thick", "", "mixer slow", "", "3", "", "9", "", "Anna"),
)


def flat_csv(separator: str = ",", rows: tuple[tuple[str, ...], ...] = ROWS) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\r\n").writerows([HEADER, *rows])
    return text.getvalue()


def numbers(table: FailureTable) -> dict[str, list[tuple[str, int | None, float]]]:
    """Everything that experts said, wherever it stands."""
    found = {}
    for failure in table.failures:
        found[failure.name] = [(each.expert, each.rating, each.probability) for each in failure.occurrence]
    for relation in table.relations:
        key = f"{relation.cause} -> {relation.effect}"
        found[key] = [(each.expert, each.rating, each.probability) for each in relation.trigger]
    return found


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def problems_of(reading: Reading, kind: str) -> list[Problem]:
    return [problem for problem in reading.problems if problem.kind == kind]


def workbook(path: Path, merge: bool = False, formula: str | None = None) -> Path:
    workbook = Workbook()
    workbook.active.append(["FMEA of coating"])
    workbook.active.append(list(HEADER))
    for row in ROWS:
        workbook.active.append([int(cell) if cell.isdigit() else cell or None for cell in row])
    if merge:
        for column in "ABC":
            workbook.active.merge_cells(f"{column}3:{column}4")
    if formula:
        workbook.active["F3"] = formula
    workbook.save(path)
    return path
