"""Tables that experts could have written about a network, and contradictions put into them: for tests of scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import networkx as nx
import numpy as np

from ..errors import FailureTableError
from ..noisy_or import NoisyOr
from .experts import pooled
from .ratings import (
    DEFAULT_OCCURRENCE_SCALE,
    DEFAULT_TRIGGER_SCALE,
    OCCURRENCE_SCALES,
    RATINGS,
    TRIGGER_SCALES,
    RatingScale,
    logit,
)
from .records import Failure, FailureTable, Opinion, Place, Relation
from .statements import combine
from .synthetic import stages_in_order

#: A planted occurrence is below this share of what the strongest cause alone forces.
_CLEARLY_BELOW = 0.3
#: How often the experts' triggers are one step apart.
_DISAGREEMENT = 1 / 3


def elicited(network: NoisyOr, experts: Sequence[str] = ("Anna", "Ben"), seed: int = 0) -> FailureTable:
    """A table of ratings, free of contradictions, that experts could have written about a network.

    Triggers get the nearest rating; in a third of the relations one expert is a step off. Basic causes get the rating
    nearest to their probability, effects the lowest ratings that do not contradict their causes: what rounding adds
    stands for unnamed causes. In Diez's meaning.

    Args:
        network: with stages.

    Raises:
        FailureTableError: an effect is forced to be more frequent than the highest rating says.
    """
    generator = np.random.default_rng(seed)
    scale, trigger_scale = OCCURRENCE_SCALES[DEFAULT_OCCURRENCE_SCALE], TRIGGER_SCALES[DEFAULT_TRIGGER_SCALE]
    triggers = [
        _opinions(ratings, trigger_scale, experts, Place("relations", row + 2, "trigger"))
        for row, ratings in enumerate(
            _rated_triggers(network.trigger, trigger_scale, len(experts), generator)
        )
    ]
    strength = np.array([pooled(opinions) for opinions in triggers])
    stated = np.zeros(len(network))
    occurrences: dict[int, tuple[Opinion, ...]] = {}
    for i in network.order.tolist():
        edges = slice(network.first[i], network.first[i + 1])
        forced = 1 - np.prod(1 - strength[edges] * stated[network.cause[edges]])
        if network.is_root[i]:
            ratings = [scale.nearest(network.leak[i])] * len(experts)
        else:
            ratings = _lowest_not_below(forced, scale, len(experts), network.names[i])
            generator.shuffle(ratings)
        occurrences[i] = _opinions(ratings, scale, experts, Place("failures", i + 2, "occurrence"))
        stated[i] = pooled(occurrences[i])
    failures = (
        Failure(name, network.stage(i), occurrences[i], None, None, "", "", Place("failures", i + 2))
        for i, name in enumerate(network.names)
    )
    relations = (
        Relation(
            network.names[c], network.names[e], triggers[row], "drawn by chance", Place("relations", row + 2)
        )
        for row, (c, e) in enumerate(zip(network.cause.tolist(), network.effect.tolist(), strict=True))
    )
    return FailureTable(
        tuple(failures),
        tuple(relations),
        stages_in_order(network),
        "diez",
        scale,
        trigger_scale,
    )


def plant_contradictions(
    table: FailureTable, count: int, seed: int = 0
) -> tuple[FailureTable, tuple[str, ...]]:
    """Restate ``count`` effects, drawn by chance, as clearly rarer than one of their causes alone makes them.

    No two of them are cause and effect, and nothing else becomes contradictory: a rarer cause forces less.

    Returns:
        the table, and the names of the effects.

    Raises:
        FailureTableError: not that many effects can be restated so.
    """
    statements = combine(table)
    force = statements.trigger * statements.occurrence[statements.cause]
    strongest, together = np.zeros(len(statements.names)), np.zeros(len(statements.names))
    np.maximum.at(strongest, statements.effect, force)
    np.add.at(together, statements.effect, force)
    scale = table.occurrence_scale
    lowest = max(scale.probability(1), 1e-12)
    usable = (strongest * _CLEARLY_BELOW >= lowest) & (statements.occurrence >= together)
    neighbours = nx.Graph(zip(statements.cause.tolist(), statements.effect.tolist(), strict=True))
    chosen: list[int] = []
    taken: set[int] = set()
    for i in np.random.default_rng(seed).permutation(np.flatnonzero(usable)).tolist():
        if len(chosen) < count and i not in taken:
            chosen.append(i)
            taken.update(neighbours[i])
    if len(chosen) < count:
        raise FailureTableError(
            f"only {len(chosen)} of {count} contradictions fit; plant fewer, or grow the table"
        )
    failures = list(table.failures)
    for i in chosen:
        row = int(statements.failure_row[i])
        rating = max(r for r in RATINGS if scale.probability(r) <= strongest[i] * _CLEARLY_BELOW)
        said = tuple(
            replace(each, rating=rating, probability=scale.probability(rating))
            for each in failures[row].occurrence
        )
        failures[row] = replace(failures[row], occurrence=said)
    return replace(table, failures=tuple(failures)), tuple(statements.names[i] for i in chosen)


def _rated_triggers(
    probability: np.ndarray, scale: RatingScale, experts: int, generator: np.random.Generator
) -> np.ndarray:
    """Ratings, (m, experts): the nearest ones, in `_DISAGREEMENT` of the rows a random expert one step off."""
    nearest = np.array([scale.nearest(each) for each in probability.tolist()], dtype=np.int64)
    ratings = np.tile(nearest[:, None], (1, experts))
    odd = np.flatnonzero(generator.random(len(ratings)) < _DISAGREEMENT)
    ratings[odd, generator.integers(experts, size=len(odd))] += generator.choice([-1, 1], len(odd))
    return ratings.clip(1, 10)


def _lowest_not_below(probability: float, scale: RatingScale, experts: int, name: str) -> list[int]:
    """One rating for each expert, the lowest whose pool reaches ``probability``; at most a step apart."""
    for rating in RATINGS:
        for higher in range(1, experts + 1):
            ratings = [max(rating - 1, 1)] * (experts - higher) + [rating] * higher
            if np.mean([logit(scale.probability(each)) for each in ratings]) >= logit(probability):
                return ratings
    raise FailureTableError(
        f"the causes of {name!r} force an occurrence of {probability:.3g}, above the highest rating; "
        "weaken the network's triggers"
    )


def _opinions(
    ratings: Sequence[int], scale: RatingScale, experts: Sequence[str], place: Place
) -> tuple[Opinion, ...]:
    return tuple(
        Opinion(
            expert,
            scale.probability(int(rating)),
            int(rating),
            1.0,
            replace(place, column=f"{place.column} ({expert})"),
        )
        for expert, rating in zip(experts, ratings, strict=True)
    )
