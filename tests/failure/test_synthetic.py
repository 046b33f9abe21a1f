from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_models.errors import FailureNetworkError, FailureTableError
from hub_models.failure.build import build_network
from hub_models.failure.consistency import check_consistency
from hub_models.failure.experts import pooled
from hub_models.failure.synthetic import grow, stages_in_order
from hub_models.failure.synthetic_tables import elicited, plant_contradictions
from hub_models.failure.validation import validate
from hub_models.noisy_or import NoisyOr

LINE = ("mixing", "coating", "drying", "testing")


def small_network() -> NoisyOr:
    """Four stages of two basic causes and three effects, listed against the order of the process."""
    edges, leak, stages = [], {}, {}
    for number, stage in reversed(list(enumerate(LINE))):
        for k in range(2):
            leak[f"{stage} cause {k}"] = 0.001 * (k + 1)
        for k in range(3):
            effect = f"{stage} effect {k}"
            leak[effect] = 0.0005
            edges += [(f"{stage} cause {cause}", effect, 0.3) for cause in range(2)]
            if number:
                edges.append((f"{LINE[number - 1]} effect {k}", effect, 0.1 + 0.1 * k))
        edges.append((f"{stage} effect 0", f"{stage} effect 1", 0.05))
    stages = {name: name.rsplit(" ", 2)[0] for name in leak}
    return NoisyOr.from_edges(edges, leak, stages)


SMALL = small_network()


def degree(network: NoisyOr) -> np.ndarray:
    return np.diff(network.first)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 120), st.floats(2.2, 4), st.integers(0, 2**32 - 1))
def test_a_grown_network_has_the_size_and_holds_the_old_one(added: int, density: float, seed: int) -> None:
    failures, relations = len(SMALL) + added, len(SMALL.cause) + int(added * density)
    grown = grow(SMALL, failures, relations, seed)  # NoisyOr itself refuses cycles and edges given twice
    assert (len(grown), len(grown.cause)) == (failures, relations)
    assert grown.names[: len(SMALL)] == SMALL.names
    old = grown.restricted(np.arange(len(SMALL)))
    for field in ("cause", "effect", "trigger", "leak"):
        np.testing.assert_array_equal(getattr(old, field), getattr(SMALL, field))
    assert set(grown.effect[grown.cause >= len(SMALL)]) <= set(range(len(SMALL), failures))


def test_relations_keep_to_the_order_of_the_process_and_added_names_say_what_they_are() -> None:
    grown = grow(SMALL, 300, 1_000, seed=3)
    stage = np.array([LINE.index(name) for name in grown.stages])
    assert (stage[grown.cause] <= stage[grown.effect]).all()
    for name, place in list(zip(grown.names, grown.stages, strict=True))[len(SMALL) :]:
        assert name.startswith(f"{place}: derived failure ")


def test_statistics_of_the_real_network_are_kept() -> None:
    grown = grow(SMALL, 2_000, 2_000 * len(SMALL.cause) // len(SMALL), seed=0)
    assert grown.is_root.mean() == pytest.approx(SMALL.is_root.mean(), abs=0.04)
    assert degree(grown)[~grown.is_root].mean() == pytest.approx(
        degree(SMALL)[~SMALL.is_root].mean(), rel=0.1
    )
    for stage in LINE:
        assert grown.stages.count(stage) / 2_000 == pytest.approx(0.25, abs=0.04)
    assert np.median(grown.marginals()) == pytest.approx(np.median(SMALL.marginals()), rel=0.5)
    assert grown.marginals().max() < 5 * SMALL.marginals().max()
    stage = np.array([LINE.index(name) for name in grown.stages])
    assert set(stage[grown.effect] - stage[grown.cause]) == {0, 1}


def test_every_added_failure_takes_part_and_only_basic_ones_lack_causes() -> None:
    grown = grow(SMALL, 500, 1_500, seed=8)
    assert set(range(500)) == {*grown.cause.tolist(), *grown.effect.tolist()}


def test_denser_growth_weakens_triggers_so_that_failures_stay_rare() -> None:
    grown = grow(SMALL, 1_000, 8_000, seed=1)
    assert grown.trigger[len(SMALL.cause) :].max() < SMALL.trigger.max()
    assert grown.marginals().max() < 5 * SMALL.marginals().max()


def test_growth_is_reproducible_and_depends_on_the_seed() -> None:
    first, again, other = (grow(SMALL, 200, 600, seed) for seed in (5, 5, 6))
    for field in ("cause", "effect", "trigger", "leak"):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(first.cause, other.cause)


def test_a_grown_network_can_be_grown_further() -> None:
    grown = grow(grow(SMALL, 60, 180), 100, 320)
    assert (len(grown), len(grown.cause), len(set(grown.names))) == (100, 320, 100)


def test_ten_thousand_failures_and_forty_thousand_relations_can_be_grown() -> None:
    grown = grow(SMALL, 10_000, 40_000, seed=0)
    assert (len(grown), len(grown.cause)) == (10_000, 40_000)


@pytest.mark.parametrize(
    ("failures", "relations", "said"),
    [(10, 100, "smaller"), (200, 100, "more"), (22, 4_000, "fewer relations")],
)
def test_sizes_that_cannot_be_are_refused(failures: int, relations: int, said: str) -> None:
    with pytest.raises(FailureNetworkError, match=said):
        grow(SMALL, failures, relations)


def test_a_network_without_stages_or_with_stages_in_a_circle_is_refused() -> None:
    bare = NoisyOr.from_edges([("a", "b", 0.5)], {"a": 0.1})
    with pytest.raises(FailureNetworkError, match="stages"):
        grow(bare, 10, 30)
    with pytest.raises(FailureNetworkError, match="relations"):
        grow(NoisyOr.from_edges([], {"a": 0.1}, {"a": "mixing"}), 10, 30)
    circle = NoisyOr.from_edges(
        [("a", "b", 0.5), ("b", "c", 0.5)], {"a": 0.1}, {"a": "first", "b": "second", "c": "first"}
    )
    with pytest.raises(FailureNetworkError, match="in a circle"):
        stages_in_order(circle)


def test_stages_come_in_the_order_of_their_relations() -> None:
    assert stages_in_order(SMALL) == LINE


def test_an_elicited_table_is_valid_consistent_and_near_the_network() -> None:
    grown = grow(SMALL, 120, 400, seed=2)
    table = elicited(grown, seed=2)
    assert not [problem for problem in validate(table) if problem.fatal]
    assert table.stages == LINE
    assert not check_consistency(table).findings
    built = build_network(table)
    position = [built.index[name] for name in grown.names]
    assert (built.is_root[position] == grown.is_root).all()
    given = {(relation.cause, relation.effect): pooled(relation.trigger) for relation in table.relations}
    for c, e, q in zip(grown.cause, grown.effect, grown.trigger, strict=True):
        said = given[grown.names[c], grown.names[e]]
        assert q / 2.6 < said < q * 2.6 or q < 0.01
    apart = [relation.trigger[0].rating != relation.trigger[1].rating for relation in table.relations]
    assert 0.2 < np.mean(apart) < 0.5


def test_an_elicited_table_refuses_what_no_rating_can_say() -> None:
    certain = NoisyOr.from_edges([("a", "b", 0.9), ("c", "b", 0.9)], {"a": 0.1, "c": 0.1}, {"a": "s"})
    with pytest.raises(FailureTableError, match="'b'"):
        elicited(certain)


@pytest.mark.parametrize("seed", range(5))
def test_planted_contradictions_are_exactly_those_found(seed: int) -> None:
    table = elicited(grow(SMALL, 120, 400, seed), seed=seed)
    planted, names = plant_contradictions(table, 8, seed)
    assert len(set(names)) == 8
    assert {finding.failure for finding in check_consistency(planted).findings} == set(names)
    changed = {old.name for old, new in zip(table.failures, planted.failures, strict=True) if old != new}
    assert changed == set(names)
    assert planted.relations == table.relations
    assert plant_contradictions(table, 8, seed) == (planted, names)


def test_more_contradictions_than_fit_are_refused() -> None:
    with pytest.raises(FailureTableError, match="plant fewer"):
        plant_contradictions(elicited(SMALL), 50)
