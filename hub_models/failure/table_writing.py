"""Writing a table in the form that `read_table` knows best: an XLSX with drop-downs, or a folder of CSV files.

No text of a table becomes a formula (see `safe_cells`); every number, scale and weight is written, so that reading the
file gives an equal table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from openpyxl import Workbook
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from ..atomic import atomic_path, write_text
from ..errors import FailureTableError
from .ratings import RATINGS
from .records import FailureTable, Opinion
from .safe_cells import neutralised, write_cell

Value = str | int | float | None
Sheet = list[list[Value]]
_HEAD = PatternFill("solid", fgColor="DDE6F0")
_WIDTHS = {
    "failure": 34,
    "cause": 34,
    "effect": 34,
    "description": 40,
    "comment": 40,
    "reason": 50,
    "value": 60,
}
#: Drop-downs reach this many rows further than the table.
_ROOM = 500


def sheets_of(table: FailureTable) -> dict[str, Sheet]:
    """The table as rows under headers, by sheet: Failures, Relations, Settings, Ratings."""
    columns = {
        "occurrence": _columns("occurrence", (failure.occurrence for failure in table.failures)),
        "trigger": _columns("trigger", (relation.trigger for relation in table.relations)),
    }
    failures: Sheet = [
        ["failure", "process step", *columns["occurrence"], "severity", "detection", "description", "comment"]
    ]
    for failure in table.failures:
        numbers = _numbers("occurrence", failure.occurrence, columns["occurrence"])
        texts = [failure.description or None, failure.comment or None]
        failures.append(
            [failure.name, failure.stage or None, *numbers, failure.severity, failure.detection, *texts]
        )
    relations: Sheet = [["cause", "effect", *columns["trigger"], "reason"]]
    for relation in table.relations:
        numbers = _numbers("trigger", relation.trigger, columns["trigger"])
        relations.append([relation.cause, relation.effect, *numbers, relation.reason or None])
    settings: Sheet = [["setting", "value"], ["semantics", table.semantics]]
    settings += [["stage", stage] for stage in table.stages]
    ratings: Sheet = [["rating", "occurrence", "trigger"]]
    for rating in RATINGS:
        probabilities = (table.occurrence_scale.probability(rating), table.trigger_scale.probability(rating))
        ratings.append([rating, *probabilities])
    return {"Failures": failures, "Relations": relations, "Settings": settings, "Ratings": ratings}


def write_table(table: FailureTable, path: str | Path) -> None:
    """Write to a ``.xlsx`` file, or to a folder (any path without ending) as CSV files.

    Raises:
        FailureTableError: the path ends in something else.
    """
    path = Path(path)
    if path.suffix.lower() == ".xlsx":
        save_workbook(workbook_of(table), path)
    elif not path.suffix:
        for name, rows in sheets_of(table).items():
            write_text(path / f"{name.lower()}.csv", as_csv(rows))
    else:
        raise FailureTableError(
            f"{path}: a table is written to a .xlsx file or to a folder of CSV files; name one"
        )


def as_csv(rows: Sheet) -> str:
    """Rows as CSV text in which no cell is a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([neutralised(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()


def workbook_of(table: FailureTable) -> Workbook:
    """The table as a workbook with drop-downs for ratings and for the names of failures."""
    workbook = Workbook()
    workbook.remove(workbook.worksheets[0])
    for name, rows in sheets_of(table).items():
        fill_sheet(workbook.create_sheet(name), rows)
    last = len(table.failures) + 1 + _ROOM
    _offer_ratings(workbook["Failures"], last)
    _offer_ratings(workbook["Relations"], len(table.relations) + 1 + _ROOM)
    names = DataValidation("list", formula1=f"Failures!$A$2:$A${last}", allow_blank=True)
    names.error = "This failure is not in the sheet Failures; add it there first."
    names.add(f"A2:B{len(table.relations) + 1 + _ROOM}")
    workbook["Relations"].add_data_validation(names)
    meanings = DataValidation("list", formula1='"diez,henrion"', allow_blank=False)
    meanings.add("B2")
    workbook["Settings"].add_data_validation(meanings)
    return workbook


def fill_sheet(sheet: Worksheet, rows: Sheet) -> None:
    """Write rows, the first one as a header that stays in sight."""
    for number, row in enumerate(rows, start=1):
        for column, value in enumerate(row, start=1):
            write_cell(sheet.cell(number, column), value)
    sheet.freeze_panes = "A2"
    for cell in sheet[1]:
        cell.font, cell.fill = Font(bold=True), _HEAD
        cell.alignment = Alignment(wrap_text=True, vertical="top")
        sheet.column_dimensions[cell.column_letter].width = _WIDTHS.get(str(cell.value), 16)


def save_workbook(workbook: Workbook, path: Path) -> None:
    """Replace ``path`` in one step."""
    with atomic_path(path) as temporary:
        workbook.save(temporary)


def _offer_ratings(sheet: Worksheet, last: int) -> None:
    choice = DataValidation("list", formula1=f'"{",".join(map(str, RATINGS))}"', allow_blank=True)
    choice.error = "A rating is a whole number from 1 to 10; the sheet Ratings says what each means."
    for cell in sheet[1]:
        header = str(cell.value)
        if (
            header.startswith(("occurrence", "trigger", "severity", "detection"))
            and "probability" not in header
        ):
            choice.add(f"{cell.column_letter}2:{cell.column_letter}{last}")
    sheet.add_data_validation(choice)


def _columns(kind: str, opinions: Iterable[tuple[Opinion, ...]]) -> list[str]:
    """One column for each expert and way of giving numbers, and one for trust where it is not 1."""
    used = dict.fromkeys(
        header for each in opinions for opinion in each for header, _ in _cells(kind, opinion)
    )
    return list(used) or [kind]


def _numbers(kind: str, opinions: tuple[Opinion, ...], columns: list[str]) -> list[Value]:
    cells = dict(cell for opinion in opinions for cell in _cells(kind, opinion))
    return [cells.get(column) for column in columns]


def _cells(kind: str, opinion: Opinion) -> list[tuple[str, Value]]:
    whose = f" ({opinion.expert})" if opinion.expert else ""
    if opinion.rating is None:
        cells: list[tuple[str, Value]] = [(f"{kind} probability{whose}", opinion.probability)]
    else:
        cells = [(f"{kind}{whose}", opinion.rating)]
    return cells if opinion.trust == 1 else [*cells, (f"trust{whose}", opinion.trust)]
