from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hub_models import noisy_or_posterior
from hub_models.errors import FailureNetworkError
from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_compiled import is_available
from hub_models.noisy_or_evidence import Case, Evidence, read_evidence
from hub_models.noisy_or_moments import Moments
from hub_models.noisy_or_posterior import infer
from hub_models.noisy_or_proposal import Proposal
from hub_models.noisy_or_questions import inspection_values, risk_priorities, sensitivities
from hub_models.noisy_or_records import warnings_of

from .random_failure_networks import enumerated, random_evidence, random_network

NEEDS_NUMBA = pytest.mark.skipif(not is_available(), reason="needs numba")
NOTHING = Evidence(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


def dense_network(seed: int = 0) -> NoisyOr:
    """Too entangled for exact sums."""
    return random_network(150, seed, most_causes=12)


@pytest.mark.parametrize("compiled", [False, pytest.param(None, id="default")])
def test_sampled_and_exact_answers_agree_in_every_failure(compiled: bool | None) -> None:
    network = random_network(40, 3, most_causes=3)
    evidence = random_evidence(network, 3, 3, 1)
    exact = infer(network, evidence, exact=True)
    sampled = infer(network, evidence, precision=0.01, exact=False, compiled=compiled)
    assert (exact.method, sampled.method) == ("exact", "sampled")
    assert sampled.precision <= 0.01
    assert exact.precision == 0
    assert math.isinf(exact.effective_samples)
    for a, b in zip(exact, sampled, strict=True):
        assert (a.name, a.stage, a.is_root, a.observed) == (b.name, b.stage, b.is_root, b.observed)
        assert a.low == a.probability == a.high
        assert b.low <= b.probability <= b.high
        assert abs(a.probability - b.probability) < 0.02


def test_what_is_observed_and_what_it_cannot_touch() -> None:
    network = NoisyOr.from_edges(
        [("a", "b", 0.5), ("x", "y", 0.5)], {"a": 0.1, "x": 0.2}, {"a": "mixing", "b": "coating"}
    )
    answer = infer(network, read_evidence(network, ["b"], []))
    assert answer["b"].observed is True
    assert answer["b"].probability == 1
    assert answer["a"].probability == pytest.approx(1)
    assert answer["a"].stage == "mixing"
    assert (answer["x"].probability, answer["y"].probability) == (0.2, pytest.approx(0.1))
    assert [record.name for record in answer.ranked()] == ["a", "x"]
    assert [record.name for record in answer.ranked(roots_only=False)] == ["a", "x", "y"]
    with pytest.raises(KeyError):
        answer["z"]


def test_without_evidence_it_gives_the_priors() -> None:
    network = random_network(10, 2)
    truth, _ = enumerated(network, NOTHING)
    answer = infer(network, NOTHING)
    np.testing.assert_allclose([record.probability for record in answer], truth, atol=1e-9)
    sampled = infer(dense_network(), NOTHING, precision=0.02)
    assert sampled.log_evidence == 0
    assert sampled.method == "exact causes, sampled consequences" or sampled.method == "sampled"


def test_exact_causes_with_sampled_consequences() -> None:
    network = dense_network()
    root = int(network.order[0])
    effect = int(next(i for i in network.order if not network.is_root[i]))
    answer = infer(network, Evidence(np.array([effect]), np.zeros(0, int)), precision=0.02)
    assert answer.method == "exact causes, sampled consequences"
    causes = set(network.ancestors([effect]).tolist())
    for i, record in enumerate(answer):
        assert (record.low == record.high) == (i in causes or network.is_root[i])
    assert root in causes or answer[network.names[root]].probability == network.leak[root]


def test_a_precision_out_of_reach_is_said() -> None:
    network = dense_network()
    answer = infer(network, random_evidence(network, 3, 2, 0), precision=1e-6, time_limit=0.2)
    assert answer.precision > 1e-6
    assert "was not reached" in answer.warnings[0]
    assert answer.seconds < 5


def test_few_effective_samples_and_a_heavy_tail_are_said() -> None:
    weight = np.log(np.random.default_rng(0).random(30_000) ** -1.5)
    moments = Moments.of_sums(weight, 0.0, np.zeros(1), np.zeros(1))
    text = " ".join(warnings_of(moments, reached=0.001, precision=0.01))
    assert "worth only" in text
    assert "Pareto k" in text
    assert warnings_of(None, 0.0, 0.01) == ()


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=NEEDS_NUMBA)])
def test_a_misled_sampler_is_found_out(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses that favour the causes that hardly ever act: the weights betray it, and the warnings say so."""
    generator = np.random.default_rng(0)
    priors = {f"cause {i} {j}": float(10 ** -generator.uniform(1, 5)) for i in range(4) for j in range(10)}
    network = NoisyOr.from_edges(
        [(name, f"effect {name.split()[1]}", float(generator.uniform(0.2, 0.9))) for name in priors], priors
    )
    evidence = read_evidence(network, [f"effect {i}" for i in range(4)], [])
    right = infer(network, evidence, exact=True)
    assert not infer(network, evidence, exact=False, compiled=compiled).warnings
    good = noisy_or_posterior.propose

    def misled(cases: list[Case]) -> Proposal:
        proposal = good(cases)
        return replace(proposal, marginal=1e-5 / proposal.marginal, excess=np.zeros_like(proposal.excess))

    monkeypatch.setattr(noisy_or_posterior, "propose", misled)
    answer = infer(network, evidence, exact=False, compiled=compiled, time_limit=0.3)
    assert max(abs(a.probability - b.probability) for a, b in zip(answer, right, strict=True)) > 0.02
    assert answer.pareto_k > 0.7
    assert "Pareto k" in " ".join(answer.warnings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": -1.0}, "precision -1.0 must be >= 0"),
        ({"precision": float("nan")}, "precision nan"),
        ({"time_limit": 0.0}, "time_limit 0.0 > 0"),
        ({"exact": True}, "too entangled"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, float], message: str) -> None:
    network = dense_network()
    with pytest.raises(FailureNetworkError, match=message):
        infer(network, random_evidence(network, 2, 0, 0), **options)


def test_without_numba_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    network = dense_network()
    evidence = random_evidence(network, 2, 1, 0)
    reference = infer(network, evidence, precision=0.01, compiled=False)
    if is_available():
        compiled = infer(network, evidence, precision=0.01, compiled=True)
        gaps = [abs(a.probability - b.probability) for a, b in zip(reference, compiled, strict=True)]
        assert max(gaps) < 0.03
    monkeypatch.setattr("hub_models.noisy_or_compiled.numba", None)
    again = infer(network, evidence, precision=0.01)
    assert [r.probability for r in again] == [r.probability for r in reference]
    with pytest.raises(FailureNetworkError, match="pip install numba"):
        infer(network, evidence, compiled=True)


def test_one_positive_observation_never_makes_a_cause_less_likely() -> None:
    for seed in range(30):
        network = random_network(9, seed)
        evidence = random_evidence(network, 1, 0, seed)
        answer = infer(network, evidence)
        prior = infer(network, NOTHING)
        for before, after in zip(prior, answer, strict=True):
            assert after.probability >= before.probability - 1e-9


def information(network: NoisyOr, evidence: Evidence, name: str) -> float:
    """Bits about all unobserved roots, from the definition: what is expected to be left of their entropies."""

    def entropy(p: np.ndarray) -> float:
        p = np.clip(p[network.is_root], 1e-15, 1 - 1e-15)
        return float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum())

    at = network.positions([name])
    now, chance = enumerated(network, evidence)
    left = 0.0
    for present, absent in ((at, []), ([], at)):
        more = Evidence(
            np.append(evidence.present, present).astype(int), np.append(evidence.absent, absent).astype(int)
        )
        posterior, joint = enumerated(network, more)
        left += joint / chance * entropy(posterior)
    return entropy(now) - left


def test_the_next_inspection_tells_what_the_definition_says() -> None:
    network = random_network(9, 11)
    evidence = random_evidence(network, 2, 1, 5)
    found = inspection_values(network, evidence, samples=40_000)
    assert len(found) >= 4
    for inspection in found:
        expected = information(network, evidence, inspection.name)
        assert inspection.information == pytest.approx(expected, abs=0.02)
    assert [i.value for i in found] == sorted((i.value for i in found), reverse=True)
    dear = inspection_values(network, evidence, {found[0].name: 1e6}, samples=4_000)
    assert dear[-1].name == found[0].name or dear[-1].value == 0
    with pytest.raises(FailureNetworkError, match="must be above 0"):
        inspection_values(network, evidence, {found[0].name: 0})


def test_slopes_are_those_of_finite_differences() -> None:
    network = random_network(8, 6)
    evidence = random_evidence(network, 2, 1, 3)
    target = network.names[int(np.flatnonzero(network.is_root)[0])]

    def posterior(trigger: np.ndarray, leak: np.ndarray) -> float:
        moved = NoisyOr(network.names, network.cause, network.effect, trigger, leak)
        return float(enumerated(moved, evidence)[0][network.index[target]])

    def shifted(values: np.ndarray, i: int, step: float) -> np.ndarray:
        changed = values.copy()
        odds = values[i] / (1 - values[i]) * math.exp(step)
        changed[i] = odds / (1 + odds)
        return changed

    place = {
        (network.names[c], network.names[e]): i
        for i, (c, e) in enumerate(zip(network.cause, network.effect, strict=True))
    }
    found = sensitivities(network, evidence, target, samples=60_000)
    assert len(found) >= 8
    for item in found:
        if item.cause is None:
            i = network.index[item.failure]
            values = [posterior(network.trigger, shifted(network.leak, i, s)) for s in (0.01, -0.01)]
        else:
            i = place[item.cause, item.failure]
            values = [posterior(shifted(network.trigger, i, s), network.leak) for s in (0.01, -0.01)]
        assert item.slope == pytest.approx((values[0] - values[1]) / 0.02, abs=0.006)
        assert item.low <= item.slope <= item.high


def test_risk_is_the_severity_that_a_failure_is_responsible_for() -> None:
    network = NoisyOr.from_edges([("a", "b", 0.5), ("b", "c", 0.4)], {"a": 0.1, "b": 0.01, "x": 0.2})
    found = {item.name: item for item in risk_priorities(network, {"c": 10, "x": 1}, {"c": 0.5})}
    with_a = 1 - 0.99 * (1 - 0.05)
    assert found["a"].risk == pytest.approx(10 * 0.5 * 0.4 * (with_a - 0.01))
    assert found["b"].risk == found["c"].risk == pytest.approx(10 * 0.5 * 0.4 * with_a)
    assert found["x"].risk == pytest.approx(0.2)
    for severity, escape, message in (
        ({"z": 1.0}, {}, "unknown failures: 'z'"),
        ({"a": -1.0}, {}, "severity of 'a'"),
        ({}, {"a": 2.0}, "escape of 'a'"),
    ):
        with pytest.raises(FailureNetworkError, match=message):
            risk_priorities(network, severity, escape)
