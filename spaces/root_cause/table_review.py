"""An FMEA table under review: its contradictions, what would mend each, and what was accepted of that."""

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
class Mending:
    """All changes that mend one contradiction, and the contradiction in words."""

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
        mendings: what would mend them.
    """

    source: Path
    table: FailureTable
    warnings: tuple[Problem, ...]
    consistency: Consistency
    mendings: tuple[Mending, ...]

    @classmethod
    def of(cls, source: Path, table: FailureTable, warnings: tuple[Problem, ...]) -> Review:
        """Look for contradictions, and for the closest numbers without.

        Raises:
            FailureTableError: they cannot be mended.
        """
        by_reason: dict[str, list[Change]] = {}
        for change in changes_of(repair(table)):
            by_reason.setdefault(change.reason, []).append(change)
        mendings = tuple(Mending(reason, tuple(changes)) for reason, changes in by_reason.items())
        return cls(source, table, warnings, check_consistency(table), mendings)

    @property
    def everything(self) -> list[int]:
        """All mendings, by their numbers."""
        return list(range(len(self.mendings)))

    def changes(self, accepted: Collection[int]) -> list[Change]:
        """Those of the accepted mendings, by their numbers."""
        return [change for number in sorted(accepted) for change in self.mendings[number].changes]

    def repaired(self, accepted: Collection[int]) -> FailureTable:
        """The table with the accepted mendings; others may leave contradictions."""
        return accept(self.table, self.changes(accepted))

    def consistency_with(self, accepted: Collection[int]) -> Consistency:
        """The contradictions that are left with the accepted mendings."""
        return check_consistency(self.repaired(accepted))

    def write(self, accepted: Collection[int], folder: Path) -> Path:
        """The repaired table as a workbook in ``folder``: a marked copy of the one that was read, if it was one.

        Raises:
            FailureTableError: the file that was read is gone.
        """
        target = folder / f"{self.source.stem}-repaired.xlsx"
        if self.source.suffix.lower() != ".xlsx":
            write_table(self.repaired(accepted), target)
        elif self.source.is_file():
            write_back(self.source, self.changes(accepted), target)
        else:
            raise FailureTableError(f"{self.source.name} was deleted from this server; upload it again")
        return target
