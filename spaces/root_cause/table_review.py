"""An FMEA table under review: its contradictions, what would mend them, and the numbers that a person stands by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from hub_models.errors import FailureTableError
from hub_models.failure.consistency import Consistency, check_consistency
from hub_models.failure.records import FailureTable, Problem
from hub_models.failure.repair import repair
from hub_models.failure.repair_report import Change, accept, changes_of
from hub_models.failure.table_writing import write_table
from hub_models.failure.write_back import write_back


@dataclass(frozen=True)
class NumberRepair:
    """One number that moves, whoever stated it: a failure's occurrence, or a relation's trigger.

    Attributes:
        what: the failure, or "cause -> effect".
        reason: the contradiction that it helps to mend, in words.
        changes: of every expert.
    """

    what: str
    reason: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Review:
    """A valid table as it was read, and what to do about it.

    Attributes:
        source: the file or folder.
        table: what it says.
        warnings: what a person should look at.
        consistency: its contradictions.
        kept: numbers whose repair was rejected.
        repairs: of the other numbers, grouped by contradiction; they mend everything unless ``problem``.
        problem: why it cannot be mended around the kept numbers, "" if it can.
    """

    source: Path
    table: FailureTable
    warnings: tuple[Problem, ...]
    consistency: Consistency
    kept: frozenset[str]
    repairs: tuple[NumberRepair, ...]
    problem: str

    @classmethod
    def of(
        cls,
        source: Path,
        table: FailureTable,
        warnings: tuple[Problem, ...],
        kept: Collection[str] = (),
    ) -> Review:
        """Look for contradictions, and for the closest numbers without them, around those that are kept."""
        consistency, names = check_consistency(table), frozenset(kept)
        try:
            changes, problem = changes_of(repair(table, keep=names)), ""
        except FailureTableError as error:
            changes, problem = [], str(error)
        return cls(source, table, warnings, consistency, names, _grouped(changes), problem)

    def keeping(self, kept: Collection[str]) -> Review:
        """The same table with other repairs rejected; those that are left are found anew."""
        return self.of(self.source, self.table, self.warnings, kept)

    @property
    def changes(self) -> list[Change]:
        """Of all experts."""
        return [change for each in self.repairs for change in each.changes]

    @property
    def repaired(self) -> FailureTable:
        """The table with all repairs that were not rejected."""
        return accept(self.table, self.changes)

    def write(self, folder: Path) -> Path:
        """The repaired table as a workbook in ``folder``: a marked copy of the one that was read, if it was one.

        Raises:
            FailureTableError: the file that was read is gone.
        """
        target = folder / f"{self.source.stem}-repaired.xlsx"
        if self.source.suffix.lower() != ".xlsx":
            write_table(self.repaired, target)
        elif self.source.is_file():
            write_back(self.source, self.changes, target)
        else:
            raise FailureTableError(f"{self.source.name} was deleted from this server; upload it again")
        return target


def _grouped(changes: list[Change]) -> tuple[NumberRepair, ...]:
    """By number, those of one contradiction next to each other, in the order in which they first appear."""
    numbers: dict[str, list[Change]] = {}
    for change in changes:
        numbers.setdefault(change.what, []).append(change)
    repairs = [NumberRepair(what, found[0].reason, tuple(found)) for what, found in numbers.items()]
    order = {reason: number for number, reason in enumerate(dict.fromkeys(each.reason for each in repairs))}
    return tuple(sorted(repairs, key=lambda each: order[each.reason]))
