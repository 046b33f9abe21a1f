"""Which reader a file gets."""

from __future__ import annotations

from pathlib import Path

from ..errors import FailureTableError
from .csv_grids import read_csv, read_folder
from .grids import Grids
from .json_grids import read_json
from .xlsx_grids import read_xlsx


def open_grids(path: Path) -> Grids:
    """Read a folder of CSV files, a CSV, an XLSX or a JSON file.

    Raises:
        FailureTableError: there is no such file, its format is unknown, or it cannot be read as what it says it is.
    """
    if path.is_dir():
        return read_folder(path)
    readers = {
        ".csv": read_csv,
        ".tsv": read_csv,
        ".txt": read_csv,
        ".xlsx": read_xlsx,
        ".xlsm": read_xlsx,
        ".json": read_json,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise FailureTableError(
            f"{path}: a table is read from CSV, XLSX, JSON or a folder of CSV files, not from {path.suffix!r}; "
            "save it as one of these"
        )
    if not path.is_file():
        raise FailureTableError(f"{path}: no such file; check the path")
    return reader(path)
