from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.optimize import minimize

from hub_models.failure import repair as repair_module
from hub_models.failure.consistency import check_consistency
from hub_models.failure.constraints import Constraint, too_rare, weaker_than_leak
from hub_models.failure.records import FailureTable
from hub_models.failure.repair import Repair, distance, opinions_of, repair
from hub_models.failure.repair_genetic import evolved
from hub_models.failure.statements import combine

from .generated_tables import plant, random_table, rated
from .test_failure_consistency import _pair


def sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def logits(value: np.ndarray) -> np.ndarray:
    return np.log(value / (1 - value))


def free_numbers(result: Repair) -> set[str]:
    """Names and pairs that take part in a condition which was violated at some time."""
    names = combine(result.before).names
    free = set()
    for each in result.constraints:
        free |= {names[each.effect]} | {names[i] for i in each.causes}
        free |= {f"{names[i]} -> {names[each.effect]}" for i in each.causes}
    return free


def changed_numbers(before: FailureTable, after: FailureTable) -> set[str]:
    """Names and pairs of which any opinion is not, bit for bit, what it was."""
    old = {each.name: each.occurrence for each in before.failures}
    old |= {f"{each.cause} -> {each.effect}": each.trigger for each in before.relations}
    new = {each.name: each.occurrence for each in after.failures}
    new |= {f"{each.cause} -> {each.effect}": each.trigger for each in after.relations}
    return {what for what in old if old[what] != new[what]}


@pytest.mark.parametrize("semantics", ["diez", "henrion"])
@pytest.mark.parametrize("seed", range(5))
def test_planted_contradictions_are_mended(seed: int, semantics: str) -> None:
    clean = random_table(60 if semantics == "diez" else 25, seed)
    planted = replace(plant(clean, 4, seed)[0], semantics=semantics)
    result = repair(planted)
    assert check_consistency(result.after).consistent
    assert changed_numbers(planted, result.after) <= free_numbers(result)
    if semantics == "diez":  # in Henrion's meaning the clean table itself has relations weaker than the leak
        assert 0 < result.distance <= distance(clean, planted)


@pytest.mark.parametrize("seed", range(3))
def test_the_closest_ratings_are_found_by_evolution(seed: int) -> None:
    clean = rated(random_table(50, seed))
    assert check_consistency(clean).consistent
    planted = _lowered(clean, 4, seed)
    result = repair(planted, evolved)
    assert check_consistency(result.after).consistent
    assert all(each.rating is not None for each in opinions_of(result.after))
    assert changed_numbers(planted, result.after) <= free_numbers(result)
    optimum = repair(planted)
    assert optimum.distance <= result.distance * 1.05
    assert result.distance <= distance(clean, planted)


def _lowered(table: FailureTable, count: int, seed: int) -> FailureTable:
    """Occurrences of effects with strong causes lowered by three ratings."""
    _, chosen = plant(table, count, seed)
    scale = table.occurrence_scale
    failures = []
    for failure in table.failures:
        if failure.name in chosen:
            new = max(1, (failure.occurrence[0].rating or 0) - 3)
            opinions = tuple(
                replace(each, rating=new, probability=scale.probability(new)) for each in failure.occurrence
            )
            failure = replace(failure, occurrence=opinions)
        failures.append(failure)
    return replace(table, failures=tuple(failures))


@pytest.mark.parametrize("solver", [None, evolved])
def test_repairing_twice_is_repairing_once(solver: object) -> None:
    clean = random_table(40, 7)
    assert repair(clean, solver).after is clean  # type: ignore[arg-type]
    once = repair(plant(clean, 4, 7)[0], solver)  # type: ignore[arg-type]
    assert once.after is not once.before
    assert repair(once.after, solver).after is once.after  # type: ignore[arg-type]


def test_evolution_is_reproducible() -> None:
    planted = _lowered(rated(random_table(40, 1)), 3, 1)
    first, second = (repair(planted, partial(evolved, seed=5)).after for _ in range(2))
    assert first == second


@pytest.mark.parametrize("negligible", [0.0, repair_module.NEGLIGIBLE])
def test_the_optimum_agrees_with_a_general_solver(negligible: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair_module, "NEGLIGIBLE", negligible)
    planted, _ = plant(random_table(16, 3), 3, 3)
    result = repair(planted)
    statements = combine(planted)
    n = len(statements.names)
    start = logits(np.concatenate([statements.occurrence, statements.trigger]))
    weight = np.concatenate([statements.occurrence_trust, statements.trigger_trust])
    oracle = minimize(
        lambda x: (weight * (x - start) ** 2).sum(),
        start,
        jac=lambda x: 2 * weight * (x - start),
        constraints=[
            {"type": "ineq", "fun": lambda x, c=c: -c.excess(sigmoid(x[:n]), sigmoid(x[n:]))}
            for c in result.constraints
        ],
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert oracle.success
    assert result.distance >= oracle.fun * (1 - 1e-5)
    assert result.distance == pytest.approx(oracle.fun, rel=0.05 if negligible else 1e-5)


def test_a_trusted_expert_moves_less() -> None:
    planted, (name,) = plant(random_table(30, 2), 1, 2)
    moved = {}
    for trust in (1.0, 100.0):
        failures = tuple(
            replace(each, occurrence=tuple(replace(one, trust=trust) for one in each.occurrence))
            if each.name == name
            else each
            for each in planted.failures
        )
        after = repair(replace(planted, failures=failures)).after
        (failure,) = [each for each in after.failures if each.name == name]
        moved[trust] = failure.occurrence[0].probability
    (failure,) = [each for each in planted.failures if each.name == name]
    assert failure.occurrence[0].probability <= moved[100.0] < moved[1.0]


@pytest.mark.parametrize("solver", [None, evolved])
def test_a_relation_weaker_than_the_leak_is_mended(solver: object) -> None:
    table = _pair("henrion", w=0.01, effect=0.3)
    result = repair(table, solver)  # type: ignore[arg-type]
    assert check_consistency(result.after).consistent
    assert result.distance > 0


def test_an_impossible_effect_of_a_possible_cause_is_mended() -> None:
    result = repair(_pair("diez", w=0.5, effect=0.0))
    assert check_consistency(result.after).consistent


@pytest.mark.parametrize("kind", ["too rare", "weaker than leak"])
def test_gradients_are_those_of_the_excess(kind: str) -> None:
    statements = combine(random_table(14, 4, causes=4, largest_leak=0.4, semantics="henrion"))
    n = len(statements.names)
    effect = int(np.argmax(np.bincount(statements.effect)))
    constraint: Constraint = too_rare(statements, effect)
    if kind == "weaker than leak":
        constraint = weaker_than_leak(statements, int(constraint.edges[0]))
    at = logits(np.concatenate([statements.occurrence, statements.trigger]))
    analytic = np.concatenate(constraint.gradient(sigmoid(at[:n]), sigmoid(at[n:])))
    numeric = np.zeros_like(at)
    for k in range(len(at)):
        up, down = at.copy(), at.copy()
        up[k] += 1e-5
        down[k] -= 1e-5
        numeric[k] = (
            constraint.excess(sigmoid(up[:n]), sigmoid(up[n:]))
            - constraint.excess(sigmoid(down[:n]), sigmoid(down[n:]))
        ) / 2e-5
    np.testing.assert_allclose(analytic, numeric, rtol=1e-5, atol=1e-6)
