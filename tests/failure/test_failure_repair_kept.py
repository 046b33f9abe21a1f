"""Repairs around numbers that a person stands by."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize

from hub_models.errors import FailureTableError
from hub_models.failure.consistency import check_consistency
from hub_models.failure.kept_numbers import movable
from hub_models.failure.records import FailureTable
from hub_models.failure.repair import Repair, repair
from hub_models.failure.repair_genetic import evolved
from hub_models.failure.repair_report import changes_of
from hub_models.failure.statements import combine

from .generated_tables import plant, random_table, rated
from .test_failure_repair import _lowered, changed_numbers, logits, sigmoid


@pytest.fixture(scope="module")
def planted() -> FailureTable:
    return plant(random_table(30, 2), 3, 2)[0]


@pytest.fixture(scope="module")
def mended(planted: FailureTable) -> Repair:
    return repair(planted)


def test_each_change_can_be_rejected_and_others_give_way(planted: FailureTable, mended: Repair) -> None:
    changes = list(dict.fromkeys(change.what for change in changes_of(mended)))
    for rejected in changes:
        around = repair(planted, keep=[rejected])
        assert rejected not in changed_numbers(planted, around.after)
        assert check_consistency(around.after).consistent
        assert around.distance >= mended.distance * (1 - 1e-9)


def test_what_would_not_have_changed_can_be_kept_for_nothing(planted: FailureTable, mended: Repair) -> None:
    untouched = [each.name for each in planted.failures]
    untouched = [name for name in untouched if name not in changed_numbers(planted, mended.after)]
    around = repair(planted, keep=untouched)
    assert around.distance == pytest.approx(mended.distance, rel=0.05)
    assert not changed_numbers(planted, around.after) & set(untouched)


def test_the_more_is_kept_the_further_the_rest_moves(planted: FailureTable, mended: Repair) -> None:
    kept: list[str] = []
    distances = [mended.distance]
    for change in changes_of(mended)[:6:2]:
        kept.append(change.what)
        distances.append(repair(planted, keep=kept).distance)
    assert all(after >= before * (1 - 1e-9) for before, after in pairwise(distances))


def test_the_optimum_around_kept_numbers_agrees_with_a_general_solver(
    planted: FailureTable, mended: Repair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_models.failure.repair.NEGLIGIBLE", 0.0)
    kept = frozenset([changes_of(mended)[0].what])
    result = repair(planted, keep=kept)
    statements = combine(planted)
    n = len(statements.names)
    start = logits(np.concatenate([statements.occurrence, statements.trigger]))
    weight = np.concatenate([statements.occurrence_trust, statements.trigger_trust])
    free = movable(statements, kept)
    assert (~free).sum() == 1

    def point(x: np.ndarray) -> np.ndarray:
        full = start.copy()
        full[free] = x
        return sigmoid(full)

    oracle = minimize(
        lambda x: (weight[free] * (x - start[free]) ** 2).sum(),
        start[free],
        jac=lambda x: 2 * weight[free] * (x - start[free]),
        constraints=[
            {"type": "ineq", "fun": lambda x, c=c: -c.excess(point(x)[:n], point(x)[n:])}
            for c in result.constraints
        ],
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert oracle.success
    assert result.distance == pytest.approx(oracle.fun, rel=1e-5)


def test_evolution_keeps_too() -> None:
    table = _lowered(rated(random_table(50, 0)), 3, 0)
    solver = partial(evolved, seed=1)
    rejected = changes_of(repair(table, solver))[0].what
    around = repair(table, solver, keep=[rejected])
    assert rejected not in changed_numbers(table, around.after)
    assert check_consistency(around.after).consistent


@pytest.mark.parametrize("solver", [None, evolved])
def test_a_contradiction_of_kept_numbers_only_is_named(planted: FailureTable, solver: object) -> None:
    finding = check_consistency(planted).findings[0].failure
    into = [each for each in planted.relations if each.effect == finding]
    numbers = [finding, *(each.cause for each in into), *(f"{each.cause} -> {finding}" for each in into)]
    with pytest.raises(FailureTableError, match=f"'{finding}'.*to be kept"):
        repair(planted, solver, keep=numbers)  # type: ignore[arg-type]


def test_a_contradiction_that_the_rest_cannot_outweigh_is_named(planted: FailureTable) -> None:
    """What is kept forces it by itself, though other numbers of the condition may move."""
    finding = check_consistency(planted).findings[0]
    cause = max(
        (each for each in planted.relations if each.effect == finding.failure),
        key=lambda each: (
            each.trigger[0].probability
            * next(f for f in planted.failures if f.name == each.cause).occurrence[0].probability
        ),
    ).cause
    keep = [finding.failure, cause, f"{cause} -> {finding.failure}"]
    with pytest.raises(FailureTableError, match=f"'{finding.failure}'.*to be kept"):
        repair(planted, keep=keep)


def test_unknown_numbers_are_refused_with_the_nearest(planted: FailureTable) -> None:
    with pytest.raises(FailureTableError, match=r"'failure 111' \(nearest: 'failure 11'"):
        repair(planted, keep=["failure 111"])
    relation = planted.relations[0]
    with pytest.raises(FailureTableError, match=f"{relation.cause} -> {relation.effect}"):
        repair(planted, keep=[f"{relation.cause} ->{relation.effect}"])
