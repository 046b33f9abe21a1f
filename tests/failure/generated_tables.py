"""Random consistent FMEA tables, and contradictions planted into them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hub_models.failure.ratings import OCCURRENCE_SCALES, TRIGGER_SCALES, RatingScale
from hub_models.failure.records import Failure, FailureTable, Opinion, Place, Relation, Semantics

OCCURRENCE = OCCURRENCE_SCALES["aiag-vda-floor"]
TRIGGER = TRIGGER_SCALES["trigger-10"]


def random_table(
    n: int,
    seed: int,
    causes: float = 2.5,
    experts: int = 2,
    semantics: Semantics = "diez",
    largest_leak: float = 0.05,
) -> FailureTable:
    """A network of ``n`` failures in six stages whose numbers fit together: probabilities, no ratings."""
    generator = np.random.default_rng(seed)
    stage = np.sort(generator.integers(0, 6, n))
    occurrence = np.zeros(n)
    relations = []
    for i in range(n):
        candidates = np.flatnonzero((stage < stage[i]) & (stage >= stage[i] - 2))
        count = min(len(candidates), int(generator.poisson(causes)))
        chosen = np.sort(generator.choice(candidates, count, replace=False)) if count else []
        silent = 1 - largest_leak * 10 ** -generator.uniform(0, 3)
        for cause in chosen:
            q = float(generator.choice(TRIGGER.probabilities))
            relations.append((int(cause), i, q))
            silent *= 1 - q * occurrence[cause]
        occurrence[i] = 1 - silent

    def opinions(value: float, sheet: str, row: int, kind: str) -> tuple[Opinion, ...]:
        names = [f"E{number}" for number in range(experts)]
        return tuple(
            Opinion(name, float(value), None, 1.0, Place(sheet, row + 2, f"{kind} probability ({name})"))
            for name in names
        )

    return FailureTable(
        failures=tuple(
            Failure(
                name=f"failure {i}",
                stage=f"step {stage[i]}",
                occurrence=opinions(occurrence[i], "Failures", i, "occurrence"),
                severity=None,
                detection=None,
                description="",
                comment="",
                place=Place("Failures", i + 2),
            )
            for i in range(n)
        ),
        relations=tuple(
            Relation(
                cause=f"failure {cause}",
                effect=f"failure {effect}",
                trigger=opinions(q, "Relations", row, "trigger"),
                reason="",
                place=Place("Relations", row + 2),
            )
            for row, (cause, effect, q) in enumerate(relations)
        ),
        stages=tuple(f"step {number}" for number in range(6)),
        semantics=semantics,
        occurrence_scale=OCCURRENCE,
        trigger_scale=TRIGGER,
    )


def plant(table: FailureTable, count: int, seed: int, shrink: float = 0.3) -> tuple[FailureTable, set[str]]:
    """State ``count`` effects too rare: a share of what their causes imply, 5 % to ``shrink``; and their names."""
    generator = np.random.default_rng(seed)
    stated = {failure.name: failure.occurrence[0].probability for failure in table.failures}
    silent: dict[str, float] = {}
    for relation in table.relations:
        factor = 1 - relation.trigger[0].probability * stated[relation.cause]
        silent[relation.effect] = silent.get(relation.effect, 1.0) * factor
    chosen = set(generator.choice(sorted(silent), count, replace=False).tolist())
    failures = []
    for failure in table.failures:
        if failure.name in chosen:
            share = generator.uniform(0.05, shrink)
            low = float(f"{share * (1 - silent[failure.name]):.12g}")
            failure = replace(
                failure, occurrence=tuple(replace(each, probability=low) for each in failure.occurrence)
            )
        failures.append(failure)
    return replace(table, failures=tuple(failures)), chosen


def rated(table: FailureTable) -> FailureTable:
    """The same table in ratings: the nearest for triggers, for occurrences the lowest that fits together."""

    def as_rating(opinions: tuple[Opinion, ...], rating: int, scale: RatingScale) -> tuple[Opinion, ...]:
        return tuple(
            replace(
                each,
                rating=rating,
                probability=scale.probability(rating),
                place=replace(each.place, column=each.place.column.replace(" probability", "")),
            )
            for each in opinions
        )

    occurrence: dict[str, float] = {}
    into: dict[str, list[Relation]] = {}
    relations = []
    for relation in table.relations:
        nearest = TRIGGER.nearest(relation.trigger[0].probability)
        relations.append(replace(relation, trigger=as_rating(relation.trigger, nearest, TRIGGER)))
        into.setdefault(relation.effect, []).append(relations[-1])
    failures = []
    for failure in table.failures:
        silent = 1.0
        for relation in into.get(failure.name, []):
            silent *= 1 - relation.trigger[0].probability * occurrence[relation.cause]
        least = max(1 - silent, failure.occurrence[0].probability / 3)
        rating = next((r for r in range(1, 11) if OCCURRENCE.probability(r) >= least), 10)
        occurrence[failure.name] = OCCURRENCE.probability(rating)
        failures.append(replace(failure, occurrence=as_rating(failure.occurrence, rating, OCCURRENCE)))
    return replace(table, failures=tuple(failures), relations=tuple(relations))
