"""A table file as plain grids of cells, whatever its format; what the cells mean is decided elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from .records import Problem

Cell = str | int | float | None
#: Sheets of a table in two parts, CSV files of a folder, keys of a JSON object.
SHEETS = ("failures", "relations", "settings", "experts", "ratings")


@dataclass(frozen=True)
class Grid:
    """Cells under a header.

    Attributes:
        name: of the sheet or file.
        headers: as they are written.
        rows: number of each row that is not blank, and its cells, as many as headers.
    """

    name: str
    headers: tuple[Cell, ...]
    rows: list[tuple[int, list[Cell]]]


@dataclass
class Grids:
    """All that one file or folder holds.

    Attributes:
        named: grids by the name of their sheet in ``SHEETS``.
        flat: the grid of a file that has none of these sheets: one row per line of a classic worksheet.
        settings: what stands beside the cells, in CSV ``# semantics: henrion`` above the header.
        problems: cells that could not be read.
    """

    named: dict[str, Grid] = field(default_factory=dict)
    flat: Grid | None = None
    settings: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
