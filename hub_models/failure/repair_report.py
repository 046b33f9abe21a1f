"""What a repair changed, number by number: old, new, who said it, why. As records, table and HTML page."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..atomic import write_text
from .constraints import Constraint, TooRare, filled
from .kept_numbers import name_of
from .records import FailureTable, Opinion, Place, Relation
from .repair import Repair
from .statements import combine

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Change:
    """One number of one expert.

    Attributes:
        kind: "occurrence" of a failure, or "trigger" of a relation.
        what: name of the failure, or "cause -> effect".
        expert: who said it, "" if the table does not tell.
        place: where it stands.
        old, new: probabilities.
        old_rating: as it was given, None for a probability.
        new_rating: the rating itself, or the nearest one to a probability.
        exact: whether ``new`` is just the probability of ``new_rating``.
        reason: the contradiction that it helps to mend, in words.
        opinion: the number before.
        new_opinion: the number after.
    """

    kind: str
    what: str
    expert: str
    place: Place
    old: float
    new: float
    old_rating: int | None
    new_rating: int
    exact: bool
    reason: str
    opinion: Opinion
    new_opinion: Opinion

    def record(self) -> dict[str, str | int | float | None]:
        """Flat, for tables and JSON."""
        return {
            "kind": self.kind,
            "what": self.what,
            "expert": self.expert,
            "old_rating": self.old_rating,
            "old": self.old,
            "new_rating": self.new_rating,
            "new": self.new,
            "reason": self.reason,
            "place": str(self.place),
        }


def changes_of(repair: Repair) -> list[Change]:
    """Every changed number, in the order of the table."""
    reasons = _Reasons(repair)
    before, after = repair.before, repair.after
    found = []
    for old_failure, new_failure in zip(before.failures, after.failures, strict=True):
        for old, new in zip(old_failure.occurrence, new_failure.occurrence, strict=True):
            if new is not old and new.probability != old.probability:
                reason = reasons.of_failure(old_failure.name)
                rating = new.rating or before.occurrence_scale.nearest(new.probability)
                found.append(_change("occurrence", old_failure.name, old, new, rating, reason))
    for old_relation, new_relation in zip(before.relations, after.relations, strict=True):
        for old, new in zip(old_relation.trigger, new_relation.trigger, strict=True):
            if new is not old and new.probability != old.probability:
                what = name_of(old_relation)
                rating = new.rating or before.trigger_scale.nearest(new.probability)
                found.append(_change("trigger", what, old, new, rating, reasons.of_relation(old_relation)))
    return found


def accept(table: FailureTable, changes: Collection[Change]) -> FailureTable:
    """The table with these changes only; what is left out may leave contradictions."""
    new = {change.opinion: change.new_opinion for change in changes}

    def chosen(opinions: tuple[Opinion, ...]) -> tuple[Opinion, ...]:
        return tuple(new.get(opinion, opinion) for opinion in opinions)

    return replace(
        table,
        failures=tuple(replace(each, occurrence=chosen(each.occurrence)) for each in table.failures),
        relations=tuple(replace(each, trigger=chosen(each.trigger)) for each in table.relations),
    )


def to_pandas(changes: Sequence[Change]) -> pd.DataFrame:
    """One row a change."""
    import pandas as pd

    columns = ["kind", "what", "expert", "old_rating", "old", "new_rating", "new", "reason", "place"]
    frame = pd.DataFrame([change.record() for change in changes], columns=columns)
    return frame.astype({"old_rating": "Int64", "new_rating": "Int64"})


def to_html(changes: Sequence[Change], title: str = "Repaired numbers") -> str:
    """A page that needs nothing else; all text of the table is escaped."""
    rows = "\n".join(_html_row(change) for change in changes)
    heads = ("", "number", "expert", "old", "new", "why", "where")
    return _PAGE.format(
        title=html.escape(title),
        summary=f"{len(changes)} number{'s' * (len(changes) != 1)} changed",
        heads="".join(f'<th scope="col">{head}</th>' for head in heads),
        rows=rows,
    )


def save_html(changes: Sequence[Change], path: str | Path, title: str = "Repaired numbers") -> None:
    """Write `to_html` in one step."""
    write_text(Path(path), to_html(changes, title))


class _Reasons:
    """Says for each number which violated condition it takes part in."""

    def __init__(self, repair: Repair) -> None:
        statements = combine(repair.before)
        self._occurrence = filled(statements, statements.occurrence, statements.trigger)
        self._trigger, self._names = statements.trigger, statements.names
        self._failures: dict[str, list[Constraint]] = {}
        self._relations: dict[tuple[str, str], list[Constraint]] = {}
        for each in repair.constraints:
            effect = self._names[each.effect]
            for position in (each.effect, *each.causes.tolist()):
                self._failures.setdefault(self._names[position], []).append(each)
            for cause in each.causes.tolist():
                self._relations.setdefault((self._names[cause], effect), []).append(each)

    def of_failure(self, name: str) -> str:
        return self._gravest(self._failures.get(name, []))

    def of_relation(self, relation: Relation) -> str:
        return self._gravest(self._relations.get((relation.cause, relation.effect), []))

    def _gravest(self, constraints: list[Constraint]) -> str:
        if not constraints:
            return ""
        gravest = max(constraints, key=lambda each: float(each.excess(self._occurrence, self._trigger)))
        effect = self._names[gravest.effect]
        stated = self._occurrence[gravest.effect]
        if isinstance(gravest, TooRare):
            q, o = self._trigger[gravest.edges], self._occurrence[gravest.causes]
            implied = 1 - float(np.prod(1 - q * o))
            if implied > stated:
                return f"{effect} is stated at {stated:.3g}, but its causes imply {implied:.3g}"
            return f"{effect}, stated at {stated:.3g}, became too rare when numbers of its causes were mended"
        cause = self._names[gravest.causes[gravest.edges.tolist().index(gravest.edge)]]
        given = self._trigger[gravest.edge]
        return (
            f"{effect} occurs at {stated:.3g}, mostly of unnamed causes; where {cause} is present it cannot be only "
            f"{given:.3g}"
        )


def _change(kind: str, what: str, old: Opinion, new: Opinion, rating: int, reason: str) -> Change:
    return Change(
        kind=kind,
        what=what,
        expert=old.expert,
        place=old.place,
        old=old.probability,
        new=new.probability,
        old_rating=old.rating,
        new_rating=rating,
        exact=new.rating is not None,
        reason=reason,
        opinion=old,
        new_opinion=new,
    )


def _html_row(change: Change) -> str:
    old = f"{change.old:.3g}" + (f" (rating {change.old_rating})" if change.old_rating else "")
    nearest = "rating" if change.exact else "nearest rating"
    new = f"{change.new:.3g} ({nearest} {change.new_rating})"
    cells = (change.kind, change.what, change.expert, old, new, change.reason, str(change.place))
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #1d2733; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid #d5dce4; }}
th {{ position: sticky; top: 0; background: #fff; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<table>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""
