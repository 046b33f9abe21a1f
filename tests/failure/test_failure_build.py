from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from hub_models.errors import FailureTableError
from hub_models.failure.build import build_network
from hub_models.failure.records import FailureTable, Semantics
from hub_models.failure.repair import repair
from hub_models.failure.statements import combine
from hub_models.noisy_or import NoisyOr

from .generated_tables import plant, random_table


def occurrences(network: NoisyOr) -> dict[str, float]:
    """P(failure) of each, by enumeration of all states."""
    n = len(network)
    states = np.array(list(itertools.product((0, 1), repeat=n)))
    probability = np.ones(len(states))
    for i in range(n):
        into = network.effect == i
        quiet = (1 - network.leak[i]) * np.prod(
            1 - network.trigger[into] * states[:, network.cause[into]], axis=1
        )
        probability *= np.where(states[:, i] == 1, 1 - quiet, quiet)
    return dict(zip(network.names, (probability @ states).tolist(), strict=True))


def stated(table: FailureTable) -> dict[str, float]:
    return {failure.name: failure.occurrence[0].probability for failure in table.failures}


@pytest.mark.parametrize("semantics", ["diez", "henrion"])
@pytest.mark.parametrize("seed", range(6))
def test_every_failure_occurs_as_often_as_stated(seed: int, semantics: Semantics) -> None:
    table = repair(
        random_table(10, seed, semantics=semantics)
    ).after  # some relations are weaker than the leak
    found, wanted = occurrences(build_network(table)), stated(table)
    assert found == pytest.approx(wanted, rel=5e-3)


@pytest.mark.parametrize("semantics", ["diez", "henrion"])
def test_in_a_tree_they_do_to_the_last_digit(semantics: str) -> None:
    table = random_table(8, 0, causes=0, semantics=semantics)  # type: ignore[arg-type]
    one = random_table(30, 2).relations[0]
    pairs = [(0, 2), (1, 2), (2, 4), (3, 4), (4, 5), (4, 6)]
    relations = tuple(
        replace(one, cause=f"failure {a}", effect=f"failure {b}", trigger=_said(table, 0.6)) for a, b in pairs
    )
    failures = [
        replace(each, stage="", occurrence=_said(table, 0.02 + 0.03 * k))
        for k, each in enumerate(table.failures)
    ]
    failures[6] = replace(failures[6], occurrence=_said(table, 0.4))
    table = replace(table, failures=tuple(failures), relations=relations)
    network = build_network(table)
    assert occurrences(network) == pytest.approx(stated(table), rel=1e-9)
    if semantics == "henrion":  # with this cause alone the effect occurs as often as was said, leak included
        for edge in range(len(network.cause)):
            leak = network.leak[network.effect[edge]]
            assert 1 - (1 - leak) * (1 - network.trigger[edge]) == pytest.approx(0.6, rel=1e-3)
    else:
        np.testing.assert_array_equal(network.trigger, 0.6)


def _said(table: FailureTable, p: float):  # type: ignore[no-untyped-def]
    return tuple(replace(each, probability=p) for each in table.failures[0].occurrence)


def test_the_order_of_rows_does_not_matter() -> None:
    table = random_table(30, 1)
    shuffled = replace(table, failures=table.failures[::-1], relations=table.relations[::-1])
    first, second = build_network(table), build_network(shuffled)
    by_name = dict(zip(second.names, second.leak, strict=True))
    np.testing.assert_allclose([by_name[name] for name in first.names], first.leak, rtol=1e-9, atol=1e-15)


def test_stages_and_names_are_kept() -> None:
    table = random_table(30, 1)
    network = build_network(table)
    stages = {failure.name: failure.stage for failure in table.failures}
    assert dict(zip(network.names, network.stages, strict=True)) == stages
    assert network.names == combine(table).names


def test_an_unrated_effect_arises_from_its_causes_alone() -> None:
    table = random_table(10, 0)
    name = table.relations[0].effect
    table = replace(
        table, failures=tuple(replace(f, occurrence=()) if f.name == name else f for f in table.failures)
    )
    network = build_network(table)
    assert network.leak[network.names.index(name)] == 0


def test_contradictions_are_refused() -> None:
    table, _ = plant(random_table(30, 0), 3, 0)
    with pytest.raises(FailureTableError, match=r"3 number\(s\) contradict.*repair"):
        build_network(table)
