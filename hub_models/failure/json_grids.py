"""JSON: an object with the lists ``failures`` and ``relations``, or one list of flat rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import FailureTableError
from .grids import SHEETS, Cell, Grid, Grids


def read_json(path: Path) -> Grids:
    """Rows are objects with the same keys as the columns of a CSV; ``{"occurrence": {"Anna": 5}}`` names experts.

    Raises:
        FailureTableError: not JSON (or cut short), or not made of lists of objects.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FailureTableError(f"{path}: is not JSON, or was cut short ({error}); save it again") from error
    if isinstance(content, list):
        return Grids(flat=_grid(path, "rows", content))
    if not isinstance(content, dict) or not {"failures", "relations"} <= content.keys():
        raise FailureTableError(
            f"{path}: expected a list of rows, or an object with the lists 'failures' and 'relations'"
        )
    grids = Grids()
    for sheet in SHEETS:
        part = content.get(sheet)
        if sheet == "settings" and isinstance(part, dict):
            grids.settings = {str(key): _setting(value) for key, value in part.items()}
        elif part is not None:
            grids.named[sheet] = _grid(path, sheet, part)
    return grids


def _setting(value: Any) -> str:
    return " > ".join(map(str, value)) if isinstance(value, list) else str(value)


def _grid(path: Path, sheet: str, rows: Any) -> Grid:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise FailureTableError(f"{path}: {sheet!r} has to be a list of objects, one a row")
    flat = [_flattened(row) for row in rows]
    headers = tuple(dict.fromkeys(key for row in flat for key in row))
    return Grid(
        sheet, headers, [(n, [row.get(key) for key in headers]) for n, row in enumerate(flat, start=1)]
    )


def _flattened(row: dict[str, Any]) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            cells |= {f"{key} ({expert})": _cell(number) for expert, number in value.items()}
        else:
            cells[key] = _cell(value)
    return cells


def _cell(value: Any) -> Cell:
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    return json.dumps(value)
