"""From the rows of a grid to statements about failures and relations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .cells import as_probability, as_rating, as_trust, is_blank, text_of
from .columns import Column, recognise
from .draft import Draft
from .grids import Cell, Grid
from .records import Opinion, Place, Problem

_NUMBERS = {"occurrence", "occurrence probability", "expert", "trust"}
_TRIGGER = {"trigger", "trigger probability", "expert", "trust"}
_TEXTS = {"process step", "severity", "detection", "description", "comment"}
_USED = {
    "failures": {"failure", *_TEXTS, *_NUMBERS},
    "relations": {"cause", "effect", "reason", "comment", *_TRIGGER},
    "flat": {
        *("cause", "failure", "effect", "reason", "effect trigger", "effect trigger probability"),
        *_TEXTS,
        *_NUMBERS,
        *_TRIGGER,
    },
}
_HEADERS = {
    "failures": "failure, process step, occurrence (EXPERT), severity, detection, trust (EXPERT), comment",
    "relations": "cause, effect, trigger (EXPERT), trust (EXPERT), reason",
    "flat": "two of cause, failure, effect; and process step, severity, occurrence, detection, trigger, expert",
}


class RowReader:
    """Reads one grid into a draft.

    Args:
        grid: what to read.
        part: "failures", "relations" or "flat".
        draft: takes the statements, and the problems.
    """

    def __init__(self, grid: Grid, part: str, draft: Draft) -> None:
        self.grid = grid
        self.part = part
        self.draft = draft
        self._columns: dict[str, list[Column]] = {}
        self._unreadable: set[Place] = set()
        for column in recognise(grid.headers):
            self._take(column)

    def read(self) -> None:
        """Read every row."""
        needed = {"failures": ("failure",), "relations": ("cause", "effect")}.get(self.part)
        names = [name for name in ("cause", "failure", "effect") if name in self._columns]
        missing = [name for name in needed if name not in names] if needed else ["failure"] * (len(names) < 2)
        if missing:
            found = "no column " + " and no column ".join(map(repr, missing))
            self._report("missing column", Place(self.grid.name, 1), found, _HEADERS[self.part])
            return
        read = {"failures": self._failure, "relations": self._relation, "flat": self._flat}[self.part]
        for number, cells in self.grid.rows:
            read(number, cells)

    def _take(self, column: Column) -> None:
        place = Place(self.grid.name, 1, column.header)
        known = self._columns.setdefault(column.meaning, [])
        if column.meaning not in _USED[self.part]:
            self._report("column", place, "is not used here", _HEADERS[self.part], False)
        elif any(column.expert == other.expert for other in known):
            self._report(
                "column", place, "a second column with the same meaning", "one; or one for each expert"
            )
        else:
            known.append(column)
            return
        if not known:
            del self._columns[column.meaning]

    def _failure(self, number: int, cells: list[Cell]) -> None:
        name = self._name(number, cells, "failure")
        if name:
            self.draft.add_failure(name, self._place(number))
            self._describe(name, number, cells, ("severity", "detection"))
            for opinion in self._opinions(number, cells, "occurrence"):
                self.draft.add_occurrence(name, opinion)

    def _relation(self, number: int, cells: list[Cell]) -> None:
        cause, effect = self._name(number, cells, "cause"), self._name(number, cells, "effect")
        if cause and effect:
            self._relate(cause, effect, number, cells, "trigger")

    def _flat(self, number: int, cells: list[Cell]) -> None:
        names = {role: self._text(cells, role) for role in ("cause", "failure", "effect")}
        chain = [(role, name) for role, name in names.items() if name]
        if not chain:
            self._report("no name", self._place(number), "a row without cause, failure and effect", "a name")
            return
        step, place = self._text(cells, "process step"), self._place(number)
        for role, name in chain:
            self.draft.add_failure(name, place)
            if step and role != "failure":
                self.draft.add_step(step, place)
                self.draft.mention(name, role, step)
        if names["failure"]:
            self._describe(names["failure"], number, cells, ())
        source, target = chain[0][1], chain[-1][1]
        self._rate(target, number, cells, "severity")
        self._rate(source, number, cells, "detection")
        for opinion in self._opinions(number, cells, "occurrence"):
            self.draft.add_occurrence(source, opinion)
        kinds = ("trigger", "effect trigger") if names["cause"] else ("trigger",)
        for (_, cause), (_, effect), kind in zip(chain, chain[1:], kinds, strict=False):
            self._relate(cause, effect, number, cells, kind)

    def _relate(self, cause: str, effect: str, number: int, cells: list[Cell], kind: str) -> None:
        reason = self._text(cells, "reason") or self._text(cells, "comment")
        self.draft.add_relation(cause, effect, self._place(number), reason)
        for opinion in self._opinions(number, cells, kind):
            self.draft.add_trigger(cause, effect, opinion)

    def _describe(self, name: str, number: int, cells: list[Cell], ratings: tuple[str, ...]) -> None:
        step = self._text(cells, "process step")
        if step:
            self.draft.set_stage(name, step, self._place(number, "process step"))
        for kind in ("description", "comment"):
            if text := self._text(cells, kind):
                self.draft.set_text(name, kind, text)
        for kind in ratings:
            self._rate(name, number, cells, kind)

    def _rate(self, name: str, number: int, cells: list[Cell], kind: str) -> None:
        for column in self._columns.get(kind, []):
            value = self._value(number, cells, column, as_rating)
            if value is not None:
                self.draft.set_rating(name, kind, value, self._place(number, kind))

    def _opinions(self, number: int, cells: list[Cell], kind: str) -> list[Opinion]:
        """The numbers of a row; a probability beside a rating of the same expert counts instead of it."""
        opinions: dict[str, Opinion] = {}
        occurs = kind == "occurrence"
        scale = self.draft.settings.occurrence_scale if occurs else self.draft.settings.trigger_scale
        for meaning, convert in ((kind, as_rating), (f"{kind} probability", as_probability)):
            for column in self._columns.get(meaning, ()):
                value = self._value(number, cells, column, convert)
                if value is None:
                    continue
                expert = column.expert or self._text(cells, "expert")
                rating = int(value) if meaning == kind else None
                opinions[expert] = Opinion(
                    expert=expert,
                    probability=float(value) if rating is None else scale.probability(rating),
                    rating=rating,
                    trust=self._trust(number, cells, expert),
                    place=Place(self.grid.name, number, column.header),
                )
        return list(opinions.values())

    def _trust(self, number: int, cells: list[Cell], expert: str) -> float:
        for column in self._columns.get("trust", ()):
            if column.expert in ("", expert):
                value = self._value(number, cells, column, as_trust)
                if value is not None:
                    return float(value)
        return self.draft.settings.trust.get(expert, 1.0)

    def _value(
        self, number: int, cells: list[Cell], column: Column, convert: Callable[[Cell], Any]
    ) -> Any | None:
        cell = cells[column.index]
        if is_blank(cell):
            return None
        try:
            return convert(cell)
        except ValueError as error:
            place = Place(self.grid.name, number, column.header)
            if place not in self._unreadable:  # one trust may weigh two numbers
                self._unreadable.add(place)
                self._report("number", place, f"{text_of(cell)[:60]!r}", str(error))
            return None

    def _name(self, number: int, cells: list[Cell], role: str) -> str:
        name = self._text(cells, role)
        if not name:
            self._report(
                "no name", self._place(number, role), f"a row without {role}", "the name of a failure"
            )
        return name

    def _text(self, cells: list[Cell], meaning: str) -> str:
        for column in self._columns.get(meaning, ()):
            if text := text_of(cells[column.index]):
                return text
        return ""

    def _place(self, number: int, meaning: str = "") -> Place:
        columns = self._columns.get(meaning)
        return Place(self.grid.name, number, columns[0].header if columns else "")

    def _report(self, kind: str, place: Place, found: str, expected: str, fatal: bool = True) -> None:
        self.draft.problems.append(Problem(kind, place, found, expected, fatal))
