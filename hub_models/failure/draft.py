"""Failures and relations while a table is read: rows about the same thing come together here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .records import Failure, Opinion, Place, Problem, Relation
from .settings import Settings


@dataclass(slots=True)
class _FailureDraft:
    name: str
    place: Place
    stage: str | None = None
    #: Steps of flat rows that mention it as their cause, or as their effect: it lies at or before, at or after.
    cause_in: list[str] = field(default_factory=list)
    effect_in: list[str] = field(default_factory=list)
    occurrence: dict[str, list[Opinion]] = field(default_factory=dict)
    ratings: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _RelationDraft:
    place: Place
    trigger: dict[str, list[Opinion]] = field(default_factory=dict)
    reason: str = ""


class Draft:
    """Merges what rows say and turns it into records.

    Args:
        settings: of the table.
        problems: what contradicts an earlier row is added here.
    """

    def __init__(self, settings: Settings, problems: list[Problem]) -> None:
        self.settings = settings
        self.problems = problems
        self._failures: dict[str, _FailureDraft] = {}
        self._relations: dict[tuple[str, str], _RelationDraft] = {}
        self._steps: dict[str, None] = dict.fromkeys(settings.stages)
        self._strangers: set[str] = set()

    def add_failure(self, name: str, place: Place) -> None:
        """Make a failure known."""
        if name not in self._failures:
            self._failures[name] = _FailureDraft(name, place)

    def set_stage(self, name: str, step: str, place: Place) -> None:
        """Say in which process step a failure arises."""
        failure = self._failures[name]
        if failure.stage is not None and failure.stage != step:
            found = f"{name!r} lies in {step!r} here, in {failure.stage!r} before"
            self._report("two steps", place, found, "one step; failures of two steps need two names")
            return
        failure.stage = step
        self.add_step(step, place)

    def mention(self, name: str, role: str, step: str) -> None:
        """Note that a flat row of ``step`` has this failure as its "cause" or "effect"."""
        failure = self._failures[name]
        (failure.cause_in if role == "cause" else failure.effect_in).append(step)

    def add_step(self, step: str, place: Place) -> None:
        """Make a process step known, after those known before."""
        if step in self._steps:
            return
        if self.settings.stages:
            listed = " > ".join(self.settings.stages)
            self._report("unknown step", place, f"process step {step!r} is not among the stages", listed)
        self._steps[step] = None

    def set_rating(self, name: str, kind: str, value: int, place: Place) -> None:
        """Severity or detection; of two values the worse, with a warning."""
        ratings = self._failures[name].ratings
        if ratings.setdefault(kind, value) != value:
            found = f"{kind} of {name!r} is {value} here, {ratings[kind]} before"
            self._report(
                "two ratings", place, found, f"one value; {max(value, ratings[kind])} is used", False
            )
            ratings[kind] = max(value, ratings[kind])

    def set_text(self, name: str, kind: str, value: str) -> None:
        """Description or comment; of several the first."""
        self._failures[name].texts.setdefault(kind, value)

    def add_occurrence(self, name: str, opinion: Opinion) -> None:
        """One expert's number for how often a failure occurs."""
        self._merge(self._failures[name].occurrence, opinion, f"occurrence of {name!r}")

    def add_relation(self, cause: str, effect: str, place: Place, reason: str) -> None:
        """Make a relation known."""
        relation = self._relations.setdefault((cause, effect), _RelationDraft(place))
        relation.reason = relation.reason or reason

    def add_trigger(self, cause: str, effect: str, opinion: Opinion) -> None:
        """One expert's number for a relation."""
        self._merge(self._relations[cause, effect].trigger, opinion, f"{cause!r} -> {effect!r}")

    def failures(self) -> tuple[Failure, ...]:
        """All failures, in order of appearance."""
        order = {step: number for number, step in enumerate(self._steps)}
        return tuple(
            Failure(
                name=draft.name,
                stage=_stage(draft, order),
                occurrence=_joined(draft.occurrence),
                severity=draft.ratings.get("severity"),
                detection=draft.ratings.get("detection"),
                description=draft.texts.get("description", ""),
                comment=draft.texts.get("comment", ""),
                place=draft.place,
            )
            for draft in self._failures.values()
        )

    def relations(self) -> tuple[Relation, ...]:
        """All relations, in order of appearance."""
        return tuple(
            Relation(cause, effect, _joined(draft.trigger), draft.reason, draft.place)
            for (cause, effect), draft in self._relations.items()
        )

    def stages(self) -> tuple[str, ...]:
        """Process steps in order: as listed, else by first appearance."""
        return tuple(self._steps)

    def _merge(self, opinions: dict[str, list[Opinion]], new: Opinion, what: str) -> None:
        trust = self.settings.trust
        if trust and new.expert and new.expert not in trust and new.expert not in self._strangers:
            self._strangers.add(new.expert)
            found = f"expert {new.expert!r} is not in the sheet of experts"
            self._report("unknown expert", new.place, found, "one of " + ", ".join(trust), False)
        same = opinions.setdefault(new.expert, [])
        same.append(new)
        old = same[0]
        if old.probability != new.probability:
            who = f"{new.expert!r} says" if new.expert else "the table says"
            found = f"{what}: {who} {_shown(new)} here, {_shown(old)} in {old.place}"
            self._report("two numbers", new.place, found, "one number of each expert; or name the experts")

    def _report(self, kind: str, place: Place, found: str, expected: str, fatal: bool = True) -> None:
        self.problems.append(Problem(kind, place, found, expected, fatal))


def _stage(draft: _FailureDraft, order: dict[str, int]) -> str:
    """Its own step; else no earlier than what it is an effect of, no later than what it causes."""
    if draft.stage is not None:
        return draft.stage
    if draft.effect_in:
        return max(draft.effect_in, key=order.__getitem__)
    return min(draft.cause_in, key=order.__getitem__, default="")


def _joined(opinions: dict[str, list[Opinion]]) -> tuple[Opinion, ...]:
    return tuple(
        replace(first, repeated=tuple(other.place for other in others)) if others else first
        for first, *others in opinions.values()
    )


def _shown(opinion: Opinion) -> str:
    return f"{opinion.probability:g}" if opinion.rating is None else str(opinion.rating)
