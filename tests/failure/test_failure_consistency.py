from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from hub_models.failure import confirmation
from hub_models.failure.certificates import certify
from hub_models.failure.confirmation import Implied, ancestors, enumerated, is_open, settle
from hub_models.failure.consistency import check_consistency
from hub_models.failure.records import FailureTable
from hub_models.failure.statements import Statements, combine

from .generated_tables import plant, random_table


def jittered(statements: Statements, seed: int, spread: float = 0.7) -> Statements:
    """Occurrences multiplied by random factors, so that about half of the effects contradict their causes."""
    factors = np.exp(np.random.default_rng(seed).normal(0, spread, len(statements.names)))
    return replace(statements, occurrence=np.minimum(statements.occurrence * factors, 0.95))


def brute_force(statements: Statements) -> np.ndarray:
    """What the causes of each failure imply, from the joint table over all states, written out naively."""
    n = len(statements.names)
    states = np.array(list(itertools.product((0, 1), repeat=n)))
    probability = np.ones(len(states))
    implied = np.zeros(n)
    for i in range(n):
        quiet = np.ones(len(states))
        for cause, effect, q in zip(statements.cause, statements.effect, statements.trigger, strict=True):
            if effect == i:
                quiet *= 1 - q * states[:, cause]
        later = 2.0 ** (n - i)  # states that differ only in what was not decided yet
        implied[i] = 1 - (probability * quiet).sum() / later
        marginal = max(statements.occurrence[i], implied[i])
        off = quiet * (1 - marginal) / (1 - implied[i])
        probability *= np.where(states[:, i] == 1, 1 - off, off)
    assert probability.sum() == pytest.approx(1)
    return implied


@pytest.mark.parametrize("seed", range(12))
def test_enumeration_agrees_with_a_naive_joint_table(seed: int) -> None:
    statements = jittered(combine(random_table(9, seed, largest_leak=0.3)), seed)
    found = [enumerated(statements, i, ancestors(statements, [i])) for i in range(9)]
    np.testing.assert_allclose(found, brute_force(statements), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("largest_leak", [0.01, 0.1, 0.8])
@pytest.mark.parametrize("seed", range(20))
def test_certificates_hold_against_enumeration(seed: int, largest_leak: float) -> None:
    statements = jittered(combine(random_table(11, seed, largest_leak=largest_leak)), seed)
    certificate = certify(statements)
    exact = np.array([enumerated(statements, i, ancestors(statements, [i])) for i in range(11)])
    assert (certificate.lower <= exact * (1 + 1e-9) + 1e-15).all()
    assert (exact <= certificate.upper * (1 + 1e-9) + 1e-15).all()
    assert not (certificate.inconsistent & (statements.occurrence > exact)).any()
    assert not (certificate.consistent & (statements.occurrence < exact * (1 - 1e-8))).any()


def test_bounds_of_many_failures_hold_without_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    statements = jittered(combine(random_table(11, 3, largest_leak=0.3)), 3)
    exact = np.array([enumerated(statements, i, ancestors(statements, [i])) for i in range(11)])
    with_pairs = certify(statements)
    monkeypatch.setattr("hub_models.failure.certificates._MOST_PAIRED", 5)
    certificate = certify(statements)
    assert (certificate.lower <= exact * (1 + 1e-9)).all()
    assert (certificate.lower <= with_pairs.lower * (1 + 1e-12)).all()


@pytest.mark.parametrize("seed", range(8))
def test_sampled_bounds_hold_against_enumeration(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    statements = combine(random_table(12, seed, causes=4, largest_leak=0.3))
    certificate = certify(statements)
    monkeypatch.setattr(confirmation, "MOST_ENUMERATED", -1)
    monkeypatch.setattr(confirmation, "MOST_SAMPLES", confirmation.FIRST_SAMPLES)
    for i in np.unique(statements.effect)[-3:]:
        only = np.arange(12) == i  # nothing is known about this one
        blind = replace(
            certificate,
            lower=np.where(only, 0.0, certificate.lower),
            upper=np.where(only, 1.0, certificate.upper),
            consistent=~only,
        )
        implied = settle(statements, blind)[int(i)]
        assert implied.method == "sampled"
        exact = enumerated(statements, int(i), ancestors(statements, [int(i)]))
        assert implied.low * (1 - 1e-9) <= exact <= implied.high * (1 + 1e-9)
        assert implied.high - implied.low < 0.15 * exact


def test_sampling_never_widens_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "MOST_ENUMERATED", -1)
    statements = combine(random_table(40, 1, causes=3))
    certificate = certify(statements)
    node = int(statements.effect[-1])
    undecided = replace(certificate, consistent=np.arange(40) != node, inconsistent=np.zeros(40, dtype=bool))
    stated = statements.occurrence.copy()
    stated[node] = (certificate.lower[node] + certificate.upper[node]) / 2
    implied = settle(replace(statements, occurrence=stated), undecided)[node]
    assert certificate.lower[node] <= implied.low <= implied.high <= certificate.upper[node]


def test_settling_is_reproducible() -> None:
    statements = jittered(combine(random_table(60, 5, causes=4, largest_leak=0.5)), 5, 0.05)
    certificate = certify(statements)
    assert settle(statements, certificate, 3) == settle(statements, certificate, 3)


def test_a_stated_number_within_the_bounds_is_open() -> None:
    assert is_open(0.5, Implied(0.5, 0.4, 0.6, "sampled"))
    assert not is_open(0.6, Implied(0.5, 0.4, 0.6, "sampled"))
    assert not is_open(0.39, Implied(0.5, 0.4, 0.6, "sampled"))


@pytest.mark.parametrize("seed", range(6))
def test_every_planted_contradiction_is_found_and_none_else(seed: int) -> None:
    table, planted = plant(random_table(60, seed), 6, seed)
    report = check_consistency(table)
    assert {finding.failure for finding in report.findings if not finding.undecided} == planted
    assert report.undecided == 0
    assert not report.consistent
    for finding in report.findings:
        assert finding.stated < finding.low <= finding.implied <= finding.high
        assert finding.factor > 1


def test_a_consistent_table_has_no_finding() -> None:
    report = check_consistency(random_table(60, 1))
    assert report.findings == ()
    assert report.consistent
    assert report.checked > 20


def test_a_finding_names_the_rows_strongest_first() -> None:
    table, planted = plant(random_table(30, 2), 1, 2)
    (finding,) = check_consistency(table).findings
    (name,) = planted
    (failure,) = [each for each in table.failures if each.name == name]
    assert finding.places[:2] == tuple(opinion.place for opinion in failure.occurrence)
    stated = {each.name: each.occurrence[0].probability for each in table.failures}
    into = [each for each in table.relations if each.effect == name]
    into.sort(key=lambda each: -each.trigger[0].probability * stated[each.cause])
    assert finding.places[2:] == tuple(opinion.place for each in into for opinion in each.trigger)
    assert list(finding.alone) == [
        each.cause for each in into if each.trigger[0].probability * stated[each.cause] > finding.stated
    ]
    assert name in str(finding)


def _pair(semantics: str, w: float, effect: float) -> FailureTable:
    table = random_table(2, 0, causes=0)
    cause, other = table.failures
    relation = replace(
        random_table(30, 2).relations[0],
        cause=cause.name,
        effect=other.name,
        trigger=tuple(replace(each, probability=w) for each in cause.occurrence),
    )
    other = replace(other, occurrence=tuple(replace(each, probability=effect) for each in other.occurrence))
    return replace(table, failures=(cause, other), relations=(relation,), semantics=semantics)


def test_a_relation_weaker_than_the_leak_contradicts_in_henrions_meaning_only() -> None:
    assert check_consistency(_pair("diez", w=0.01, effect=0.3)).consistent
    (finding,) = check_consistency(_pair("henrion", w=0.01, effect=0.3)).findings
    assert finding.kind == "weaker than leak"
    assert finding.cause == "failure 0"
    assert finding.stated == pytest.approx(0.01)
    assert finding.implied == pytest.approx(0.3, rel=0.05)
    assert check_consistency(_pair("henrion", w=0.31, effect=0.3)).consistent


def test_failures_without_a_stated_occurrence_are_followed_through() -> None:
    table, planted = plant(random_table(60, 4), 3, 4)
    causes = {each.cause for each in table.relations} & {each.effect for each in table.relations} - planted
    silent = min(causes)
    failures = tuple(replace(each, occurrence=()) if each.name == silent else each for each in table.failures)
    report = check_consistency(replace(table, failures=failures))
    assert {finding.failure for finding in report.findings} <= planted


def test_a_chain_of_five_thousand_failures_is_no_burden() -> None:
    n = 5_000
    statements = Statements(
        names=tuple(map(str, range(n))),
        occurrence=np.full(n, 0.01),
        occurrence_trust=np.ones(n),
        cause=np.arange(n - 1),
        effect=np.arange(1, n),
        trigger=np.full(n - 1, 0.5),
        trigger_trust=np.ones(n - 1),
        semantics="diez",
        failure_row=np.arange(n),
        relation_row=np.arange(n - 1),
    )
    certificate = certify(statements)
    assert certificate.consistent.all()
    np.testing.assert_allclose(certificate.upper[1:], 0.005)
