"""Reading an FMEA table: files in, one validated `FailureTable` out, or every reason why not.

Two shapes are understood. In two parts: a list of failures and a list of relations (see ``hub-models failure
template``). Flat, the classic worksheet: each row is a cause, a failure and an effect, and becomes the relations cause
-> failure and failure -> effect; the occurrence and the detection are those of the cause, the severity that of the
effect, as the handbooks say (of the failure where the row names no cause, or no effect).

The meaning of a relation's number, ``semantics``, stands in the file or is given by the caller: it is never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .draft import Draft
from .records import FailureTable, InvalidTableError, Problem, Semantics
from .rows import RowReader
from .settings import decide_semantics, read_settings
from .table_files import open_grids
from .validation import validate


@dataclass(frozen=True)
class Reading:
    """What came out of a file.

    Attributes:
        name: of the file.
        table: what could be read; where ``problems`` holds a fatal one, some of it is missing.
        problems: everything that is wrong or doubtful, in the order of the file.
    """

    name: str
    table: FailureTable
    problems: tuple[Problem, ...]

    @property
    def usable(self) -> bool:
        """Whether no problem is fatal."""
        return not any(problem.fatal for problem in self.problems)

    def require(self) -> FailureTable:
        """The table.

        Raises:
            InvalidTableError: a problem is fatal.
        """
        if not self.usable:
            raise InvalidTableError(self.name, self.problems)
        return self.table


def read_table(path: str | Path, semantics: Semantics | None = None) -> FailureTable:
    """The table of a CSV, XLSX or JSON file or of a folder of CSV files.

    Args:
        semantics: see `FailureTable`; what the file states must agree.

    Raises:
        FailureTableError: the file cannot be read.
        InvalidTableError: some of its content cannot be used; ``problems`` lists all of it.
    """
    return examine_table(path, semantics).require()


def examine_table(path: str | Path, semantics: Semantics | None = None) -> Reading:
    """As `read_table`, with the problems as a list instead of an error.

    Raises:
        FailureTableError: the file cannot be read at all.
    """
    path = Path(path)
    grids = open_grids(path)
    problems = grids.problems
    settings = read_settings(grids, problems)
    draft = Draft(settings, problems)
    parts = {"flat": grids.flat, **{part: grids.named.get(part) for part in ("failures", "relations")}}
    for part, grid in parts.items():
        if grid is not None:
            RowReader(grid, part, draft).read()
    table = FailureTable(
        failures=draft.failures(),
        relations=draft.relations(),
        stages=draft.stages(),
        semantics=decide_semantics(settings, semantics, problems),
        occurrence_scale=settings.occurrence_scale,
        trigger_scale=settings.trigger_scale,
    )
    problems += validate(table, bool(settings.stages))
    return Reading(path.name, table, tuple(problems))
