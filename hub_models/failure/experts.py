"""Several experts, one number each: how they are combined, and where they disagree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .ratings import logit
from .records import FailureTable, Opinion

#: Odds a factor of ten apart are worth a talk.
NOTABLE_ODDS_RATIO = 10.0


def pooled(opinions: Sequence[Opinion]) -> float:
    """The trust-weighted mean of log-odds, as a probability (the logarithmic opinion pool, Genest and Zidek 1986).

    Where all say the same, exactly that. A 0 or 1 among other numbers counts as 1e-9 or its complement.
    """
    first = opinions[0].probability
    if all(opinion.probability == first for opinion in opinions):
        return first
    weight = sum(opinion.trust for opinion in opinions)
    mean = sum(opinion.trust * logit(opinion.probability) for opinion in opinions) / weight
    return 1 / (1 + math.exp(-mean))


def pooled_trust(opinions: Sequence[Opinion]) -> float:
    """Of all experts together: the sum of their trust."""
    return sum(opinion.trust for opinion in opinions)


@dataclass(frozen=True)
class Disagreement:
    """Experts who give the same thing different numbers.

    Attributes:
        what: the failure, or "cause -> effect".
        lowest, highest: the two opinions that are furthest apart.
        odds_ratio: how far, at least 1.
    """

    what: str
    lowest: Opinion
    highest: Opinion
    odds_ratio: float


def disagreements(table: FailureTable, least: float = NOTABLE_ODDS_RATIO) -> list[Disagreement]:
    """Where the odds of two experts are ``least`` times apart or more, widest first."""
    named = [(failure.name, failure.occurrence) for failure in table.failures]
    named += [(f"{relation.cause} -> {relation.effect}", relation.trigger) for relation in table.relations]
    found = []
    for what, opinions in named:
        if len(opinions) > 1:
            lowest = min(opinions, key=lambda opinion: opinion.probability)
            highest = max(opinions, key=lambda opinion: opinion.probability)
            ratio = math.exp(logit(highest.probability) - logit(lowest.probability))
            if ratio >= least:
                found.append(Disagreement(what, lowest, highest, ratio))
    return sorted(found, key=lambda each: -each.odds_ratio)
