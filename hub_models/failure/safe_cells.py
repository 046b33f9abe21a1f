"""Text of a table that a spreadsheet will not run as a formula.

A cell such as ``=HYPERLINK(...)`` or ``@SUM(...)`` in an exported CSV is executed when somebody opens it ("CSV
injection", CWE-1236). In CSV an apostrophe goes in front, which the reader takes away again; in XLSX the cell is
written as text, whatever it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openpyxl.cell import Cell

_STARTERS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")
#: What XML 1.0 cannot hold, and no table means.
_NOT_XML = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF])


def neutralised(text: str) -> str:
    """Safe to put into a CSV cell; `restored` gives the text back."""
    return f"'{text}" if text.lstrip("' ").startswith(_STARTERS) else text


def restored(text: str) -> str:
    """What `neutralised` was given."""
    return text[1:] if text.startswith("'") and text.lstrip("' ").startswith(_STARTERS) else text


def write_cell(cell: Cell, value: str | int | float | None) -> None:
    """Set the value of an XLSX cell; a text stays a text even if it looks like a formula."""
    if isinstance(value, str):
        cell.value = value.translate(_NOT_XML)
        cell.data_type = "s"
        if value.startswith(_STARTERS):
            cell.quotePrefix = True  # and stays one when somebody edits the cell
    else:
        cell.value = value
