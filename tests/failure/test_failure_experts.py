from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_models.errors import FailureTableError
from hub_models.failure.experts import disagreements, pooled, pooled_trust
from hub_models.failure.ratings import (
    OCCURRENCE_SCALES,
    TRIGGER_SCALES,
    RatingScale,
    logit,
    own_scale,
)
from hub_models.failure.records import Opinion, Place
from hub_models.failure.statements import combine

from .generated_tables import random_table

numbers = st.lists(st.tuples(st.floats(1e-6, 1 - 1e-6), st.floats(0.1, 10)), min_size=1, max_size=4)


def opinions(values: list[tuple[float, float]]) -> list[Opinion]:
    return [Opinion(str(k), p, None, trust, Place("", k)) for k, (p, trust) in enumerate(values)]


@given(numbers)
def test_pooled_log_odds_are_the_weighted_mean(values: list[tuple[float, float]]) -> None:
    total = sum(trust for _, trust in values)
    mean = sum(trust * logit(p) for p, trust in values) / total
    assert logit(pooled(opinions(values))) == pytest.approx(mean, abs=1e-6)
    assert pooled_trust(opinions(values)) == pytest.approx(total)
    low, high = min(p for p, _ in values), max(p for p, _ in values)
    assert low * (1 - 1e-9) <= pooled(opinions(values)) <= high * (1 + 1e-9)


@given(st.floats(0, 1), st.integers(1, 4))
def test_experts_who_agree_are_kept_to_the_bit(p: float, count: int) -> None:
    assert pooled(opinions([(p, 0.3)] * count)) == p


def test_disagreements_are_listed_widest_first() -> None:
    table = random_table(10, 0, experts=2)
    failures = list(table.failures)
    for row, factor in ((1, 0.05), (3, 0.001), (5, 0.5)):
        first, second = failures[row].occurrence
        second = replace(second, probability=first.probability * factor)
        failures[row] = replace(failures[row], occurrence=(first, second))
    found = disagreements(replace(table, failures=tuple(failures)))
    assert [each.what for each in found] == ["failure 3", "failure 1"]
    assert found[0].odds_ratio == pytest.approx(1000, rel=0.1)
    assert found[0].lowest.expert == "E1"


def test_statements_come_causes_first_and_sorted_by_effect() -> None:
    table = random_table(40, 3)
    shuffled = replace(table, failures=table.failures[::-1], relations=table.relations[::-1])
    statements = combine(shuffled)
    assert (statements.cause < statements.effect).all()
    assert (statements.effect[1:] >= statements.effect[:-1]).all()
    for i, row in enumerate(statements.failure_row):
        assert shuffled.failures[row].name == statements.names[i]
    for edge, row in enumerate(statements.relation_row):
        assert shuffled.relations[row].cause == statements.names[statements.cause[edge]]
        assert shuffled.relations[row].trigger[0].probability == statements.trigger[edge]


@pytest.mark.parametrize("scale", [*OCCURRENCE_SCALES.values(), *TRIGGER_SCALES.values()])
def test_scales_increase_and_their_nearest_rating_inverts_them(scale: RatingScale) -> None:
    assert [scale.nearest(p) for p in scale.probabilities] == list(range(1, 11))
    kind = "occurrence" if scale.name in OCCURRENCE_SCALES else "trigger"
    assert own_scale(kind, scale.probabilities).probabilities == scale.probabilities


@pytest.mark.parametrize(
    "values", [[0.1] * 10, list(range(10)), [0.1, 0.2], [float("nan")] * 10, [-0.1] * 10]
)
def test_scales_that_are_none(values: list[float]) -> None:
    with pytest.raises(FailureTableError, match="ten increasing probabilities"):
        own_scale("trigger", values)
