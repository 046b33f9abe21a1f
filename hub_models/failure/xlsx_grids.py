"""XLSX as people fill it in: merged cells, formulas, titles above the header, further sheets."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FailureTableError
from .columns import header_row, recognise
from .grids import SHEETS, Cell, Grid, Grids
from .records import Place, Problem

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.worksheet.worksheet import Worksheet


def read_xlsx(path: Path) -> Grids:
    """The sheets of a table in two parts, or the sheet in which most columns are understood.

    A merged cell counts for each row that it spans. A formula counts with the value that the spreadsheet stored.

    Raises:
        FailureTableError: not an XLSX file (or cut short), or no sheet has the columns of an FMEA.
    """
    workbook = _open(path)
    stored: Workbook | None = None
    if any(
        cell.data_type == "f" for sheet in workbook.worksheets for row in sheet.iter_rows() for cell in row
    ):
        stored = _open(path, values=True)
    grids = Grids()
    by_name = {sheet.title.strip().casefold(): sheet for sheet in workbook.worksheets}
    in_parts = {"failures", "relations"} <= by_name.keys()
    for name in SHEETS if in_parts else SHEETS[2:]:
        if name in by_name:
            grids.named[name] = _grid(by_name[name], stored, grids)
    if in_parts:
        return grids
    others = [sheet for name, sheet in by_name.items() if name not in SHEETS[2:]]
    candidates = [_grid(sheet, stored, Grids()) for sheet in others]
    best = max(candidates, key=lambda grid: len(recognise(grid.headers)), default=None)
    if best is None or not recognise(best.headers):
        raise FailureTableError(
            f"{path}: no sheet has columns such as failure, cause, effect, occurrence; "
            "`hub-models failure template` writes one that has"
        )
    grids.flat = _grid(workbook[best.name], stored, grids)
    return grids


def _open(path: Path, values: bool = False) -> Workbook:
    from openpyxl import load_workbook

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # extensions of Excel that a table does not need
            return load_workbook(path, data_only=values)
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, EOFError, SyntaxError, zipfile.error) as error:
        raise FailureTableError(
            f"{path}: is not an XLSX file, or was cut short ({error}); open it in a spreadsheet and save it again"
        ) from error


def _grid(sheet: Worksheet, stored: Workbook | None, grids: Grids) -> Grid:
    values = stored[sheet.title] if stored is not None else None
    unreadable: dict[tuple[int, int], str] = {}
    rows = [
        [_cell(cell, values, unreadable) for cell in row]
        for row in sheet.iter_rows()  # the whole range of the sheet, so positions are those of the sheet
    ]
    for merged in sheet.merged_cells.ranges:
        value = rows[merged.min_row - 1][merged.min_col - 1]
        for row in range(merged.min_row, merged.max_row):
            rows[row][merged.min_col - 1] = value
    header = header_row(rows)
    headers = tuple(rows[header]) if rows else ()
    columns = {column.index + 1: column.header for column in recognise(headers)}
    for (row, column), found in unreadable.items():
        if row > header + 1 and column in columns:  # what stands elsewhere is the engineer's own business
            place = Place(sheet.title, row, columns[column])
            expected = "a value: type it, or save the file in a spreadsheet"
            grids.problems.append(Problem("formula", place, found, expected))
    body = enumerate(rows[header + 1 :], start=header + 2)
    filled = [(number, row) for number, row in body if any(cell is not None for cell in row)]
    return Grid(sheet.title, headers, filled)


def _cell(cell: Any, stored: Worksheet | None, unreadable: dict[tuple[int, int], str]) -> Cell:
    value = cell.value
    if value is None:
        return None
    if cell.data_type == "f":
        value = None if stored is None else stored.cell(cell.row, cell.column).value
        if value is None:
            unreadable[cell.row, cell.column] = "a formula without a stored value"
            return None
    if cell.data_type == "e" or (
        isinstance(value, str) and value.startswith("#") and value.endswith(("!", "?"))
    ):
        unreadable[cell.row, cell.column] = f"the error {value}"
        return None
    if isinstance(value, str):
        return value if value.strip() else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
