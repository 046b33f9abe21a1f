"""Putting repaired numbers back into the workbook that they came from; everything else in it stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from openpyxl import load_workbook
from openpyxl.cell import MergedCell
from openpyxl.comments import Comment
from openpyxl.styles import PatternFill
from openpyxl.worksheet.worksheet import Worksheet

from ..errors import FailureTableError
from .columns import header_row, recognise
from .records import Place
from .repair_report import Change, to_pandas
from .safe_cells import write_cell
from .table_writing import fill_sheet, save_workbook

REPORT = "Repair report"
_CHANGED = PatternFill("solid", fgColor="FFF2CC")


def write_back(source: str | Path, changes: Sequence[Change], target: str | Path) -> None:
    """Copy a workbook with the new numbers in it, marked, with the old number and the reason as a comment.

    A new rating takes the old one's cell. A probability in place of a rating goes into a column of its own at the end
    of the sheet, which counts before the rating. A sheet lists all changes.

    Args:
        source: the ``.xlsx`` file that the table was read from.
        target: where the copy goes; may be ``source``.

    Raises:
        FailureTableError: a place is not in the workbook, which must have changed since.
    """
    workbook = load_workbook(source)
    for change in changes:
        for place in (change.place, *change.opinion.repeated):
            if place.sheet not in workbook.sheetnames:
                raise FailureTableError(
                    f"{source}: has no sheet {place.sheet!r} any more; read the table again"
                )
            _write(workbook[place.sheet], place, change)
    if REPORT in workbook.sheetnames:
        workbook.remove(workbook[REPORT])
    frame = to_pandas(changes).astype(object)
    rows = frame.where(frame.notna(), None).values.tolist()
    fill_sheet(workbook.create_sheet(REPORT), [list(frame.columns), *rows])
    save_workbook(workbook, Path(target))


def _write(sheet: Worksheet, place: Place, change: Change) -> None:
    rows = [[cell.value for cell in row] for row in sheet.iter_rows(max_row=min(25, sheet.max_row))]
    header = header_row(rows)
    columns = {column.header: column for column in recognise(rows[header])}
    if place.column not in columns:
        raise FailureTableError(
            f"{sheet.title}: has no column {place.column!r} any more; read the table again"
        )
    column = columns[place.column]
    index, value, in_ratings = column.index + 1, change.new, not column.meaning.endswith("probability")
    if in_ratings and change.exact:
        value = change.new_rating
    elif in_ratings:
        whose = f" ({column.expert})" if column.expert else ""
        title = f"{column.meaning} probability{whose}"
        index = columns[title].index + 1 if title in columns else len(rows[header]) + 1
        write_cell(sheet.cell(header + 1, index), title)
    cell = _own_cell(sheet, place.row, index)
    write_cell(cell, value)
    cell.fill = _CHANGED
    old = f"{change.old:.3g}" if change.old_rating is None else f"rating {change.old_rating}"
    cell.comment = Comment(f"was: {old}\n{change.reason}", "hub-models")


def _own_cell(sheet: Worksheet, row: int, column: int):  # type: ignore[no-untyped-def]  # openpyxl has no stubs
    """The cell, taken out of a merged one first; the others of that keep its value."""
    cell = sheet.cell(row, column)
    inside = next((each for each in sheet.merged_cells.ranges if cell.coordinate in each), None)
    if inside is None:
        return cell
    value = sheet.cell(inside.min_row, inside.min_col).value
    first, last = inside.min_row, inside.max_row
    sheet.unmerge_cells(str(inside))
    for each in range(first, last + 1):
        write_cell(sheet.cell(each, inside.min_col), value)
    cell = sheet.cell(row, column)
    assert not isinstance(cell, MergedCell)
    return cell
