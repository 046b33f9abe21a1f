"""CSV as spreadsheets write it: any usual separator and encoding, even two encodings in one file."""

from __future__ import annotations

import codecs
import csv
import io
import re
from pathlib import Path

from ..errors import FailureTableError
from .columns import header_row, recognise
from .grids import SHEETS, Cell, Grid, Grids
from .records import Place, Problem
from .safe_cells import restored

_SEPARATORS = (",", ";", "\t", "|")
_SETTING = re.compile(r"^\W*#\s*([\w -]+?)\s*[:=]\s*(.+?)[\s\"',;|]*$")
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def read_folder(folder: Path) -> Grids:
    """The files ``failures.csv``, ``relations.csv`` ... of a folder.

    Raises:
        FailureTableError: neither of the two files is there, or one cannot be read.
    """
    grids = Grids()
    for sheet in SHEETS:
        path = folder / f"{sheet}.csv"
        if path.is_file():
            grids.named[sheet] = _read_grid(path, grids)
    if "failures" not in grids.named or "relations" not in grids.named:
        raise FailureTableError(
            f"{folder}: has to hold failures.csv and relations.csv; name a folder that does"
        )
    return grids


def read_csv(path: Path) -> Grids:
    """A single file, one row per line of a worksheet.

    Raises:
        FailureTableError: it is empty, binary, or ends within a quoted cell.
    """
    grids = Grids()
    grids.flat = _read_grid(path, grids)
    return grids


def _read_grid(path: Path, grids: Grids) -> Grid:
    name = path.name
    text = _decoded(path, grids)
    lines = text.split("\n")
    skipped = 0
    while skipped < len(lines) and (found := _SETTING.match(lines[skipped])):
        grids.settings[found[1].strip().casefold()] = found[2]
        skipped += 1
    body = "\n".join(lines[skipped:])
    if not body.strip():
        raise FailureTableError(f"{path}: is empty; it needs a header and at least one row")
    separator = _separator(lines[skipped : skipped + 25])
    records: list[list[str]] = []
    try:
        for record in csv.reader(io.StringIO(body), delimiter=separator, strict=True):
            records.append(record)
    except csv.Error as error:
        raise FailureTableError(
            f"{path}, near row {skipped + len(records) + 1}: {error}; a quoted cell is not closed, or the file was "
            "cut short: save it again"
        ) from error
    header = header_row(records)
    headers = tuple(restored(cell.strip()) or None for cell in records[header])
    rows: list[tuple[int, list[Cell]]] = []
    for number, record in enumerate(records[header + 1 :], start=skipped + header + 2):
        if any(cell.strip() for cell in record):
            grids.problems += _misfit(name, number, record, len(headers))
            cells: list[Cell] = [restored(cell) or None for cell in record[: len(headers)]]
            rows.append((number, cells + [None] * (len(headers) - len(cells))))
    last = records[-1]
    if rows and not text.endswith("\n") and len(last) < len(headers) and any(last):
        grids.problems.append(
            Problem(
                "cut short",
                Place(name, skipped + len(records)),
                f"the file ends within this row, after {len(last)} of {len(headers)} cells",
                "a whole file: it was cut short, save it again",
            )
        )
    return Grid(name, headers, rows)


def _misfit(name: str, number: int, record: list[str], width: int) -> list[Problem]:
    if not any(cell.strip() for cell in record[width:]):
        return []
    found = f"{len(record)} cells under {width} headers"
    return [
        Problem("row too long", Place(name, number), found, "quotes around a cell that holds the separator")
    ]


def _decoded(path: Path, grids: Grids) -> str:
    """The text with line ends as ``\\n``; lines that are not UTF-8 are read as Windows-1252, with a warning."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FailureTableError(
            f"{path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    encoding = "utf-8"
    for mark, marked in _MARKS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], marked
            break
    if encoding == "utf-8" and b"\0" in data:
        raise FailureTableError(f"{path}: holds binary data, not text; export it again as CSV or XLSX")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise FailureTableError(
                f"{path}: is not {encoding} as its first bytes say; save it again"
            ) from None
        text = _line_by_line(path.name, data, grids)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _line_by_line(name: str, data: bytes, grids: Grids) -> str:
    lines, foreign = [], []
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            lines.append(line.decode("cp1252", errors="replace"))
            foreign.append(number)
    found = f"{len(foreign):,} line(s) are not UTF-8, read as Windows-1252"
    grids.problems.append(
        Problem(
            "encoding",
            Place(name, foreign[0]),
            found,
            "a file saved as UTF-8; look at its umlauts",
            fatal=False,
        )
    )
    return "\n".join(lines)


def _separator(lines: list[str]) -> str:
    """The one under which most columns of a header are understood."""

    def understood(separator: str) -> tuple[int, int]:
        rows = list(csv.reader(lines, delimiter=separator))
        return max((len(recognise(row)), len(row)) for row in rows)

    return max(_SEPARATORS, key=understood)
