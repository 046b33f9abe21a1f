"""What an FMEA table says, as frozen records: failures, relations, and who gave which number where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..errors import FailureTableError
from .ratings import RatingScale

Semantics = Literal["diez", "henrion"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the file that was read.

    Attributes:
        sheet: name of the sheet, or of the CSV file.
        row: as a spreadsheet counts, the first row is 1; in JSON the position in the list.
        column: the header as it is written, "" for the whole row.
    """

    sheet: str
    row: int
    column: str = ""

    def __str__(self) -> str:
        return f"{self.sheet}, row {self.row}" + (f", column {self.column!r}" if self.column else "")


@dataclass(frozen=True, slots=True)
class Opinion:
    """One number of one expert.

    Attributes:
        expert: name, "" where the table names none.
        probability: in [0, 1].
        rating: the rating it came from, None where the table gives the probability itself.
        trust: weight > 0 of this number against others.
        place: where it stands.
        repeated: where it stands once more, in a table whose rows repeat themselves.
    """

    expert: str
    probability: float
    rating: int | None
    trust: float
    place: Place
    repeated: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure: its process step, and how often it occurs according to each expert, all causes together."""

    name: str
    stage: str
    occurrence: tuple[Opinion, ...]
    severity: int | None
    detection: int | None
    description: str
    comment: str
    place: Place


@dataclass(frozen=True, slots=True)
class Relation:
    """``cause`` can trigger ``effect``, with the number that each expert gives it (see `FailureTable`)."""

    cause: str
    effect: str
    trigger: tuple[Opinion, ...]
    reason: str
    place: Place


@dataclass(frozen=True)
class FailureTable:
    """An FMEA as it was read.

    Attributes:
        failures, relations: in the order of the table.
        stages: process steps, in the order of the process.
        semantics: what the number of a relation means. "diez": probability that this cause alone triggers the
            effect, everything else left out (Diez 1993). "henrion": probability of the effect if, of the causes
            named, only this one is present, unnamed ones included (Henrion 1989); what experts are mostly asked.
        occurrence_scale, trigger_scale: what its ratings mean.
    """

    failures: tuple[Failure, ...]
    relations: tuple[Relation, ...]
    stages: tuple[str, ...]
    semantics: Semantics
    occurrence_scale: RatingScale
    trigger_scale: RatingScale


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a person has to look at.

    Attributes:
        kind: a short name of the rule, for filters.
        place: where; None if it concerns the file as a whole.
        found: what is wrong, in words.
        expected: what should stand there instead, in words.
        fatal: whether no network can be built before it is mended; else a warning.
    """

    kind: str
    place: Place | None
    found: str
    expected: str
    fatal: bool = True

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        return f"{where}{self.found}; expected {self.expected}"


class InvalidTableError(FailureTableError):
    """A table that no network can be built from; ``problems`` holds every reason."""

    SHOWN = 10

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problem for problem in problems if problem.fatal)
        count = len(self.problems)
        lines = [f"  {problem}" for problem in self.problems[: self.SHOWN]]
        if count > self.SHOWN:
            lines.append(f"  and {count - self.SHOWN:,} more: `hub-models failure check` lists them all")
        super().__init__("\n".join([f"{name}: {count:,} problem{'s' * (count != 1)}", *lines]))
