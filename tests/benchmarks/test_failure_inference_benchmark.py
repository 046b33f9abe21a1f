"""The benchmark of failure networks runs, at a size that says nothing about speed."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hub_models.modeling_failure_network import FailureNetworkModel
from hub_models.noisy_or_posterior import infer

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


def test_scenarios_have_the_stated_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    scenarios = module("failure_scenarios", monkeypatch)
    network = scenarios.make_network(600, 4.0, 0)
    stage = np.array([int(name[:2]) for name in network.names])
    assert 2_100 <= len(network.cause) <= 2_400
    assert np.diff(network.first).max() <= 15
    span = stage[network.effect] - stage[network.cause]
    assert (span.min(), span.max()) == (0, 2)
    rarer = scenarios.make_network(600, 4.0, 0, rarer=100.0)
    np.testing.assert_allclose(rarer.leak * 100, network.leak)
    for simulated in (True, False):
        evidence = scenarios.make_evidence(network, 3, 5, simulated, 1)
        assert (len(evidence.present), len(evidence.absent)) == (3, 5)
        assert stage[np.concatenate([evidence.present, evidence.absent])].min() >= 10
    assert (
        scenarios.make_evidence(network, 3, 5, True, 1).present.tolist()
        == scenarios.make_evidence(network, 3, 5, True, 1).present.tolist()
    )
    many = scenarios.make_evidence(network, 3, 144, True, 1)
    assert len(many.absent) == 144
    assert not np.intersect1d(many.present, many.absent).size
    assert not network.is_root[many.absent].any()
    rare = scenarios.make_evidence(network, 5, 5, False, 1, log10=-14.0)
    assert np.log10(network.marginals()[rare.present]).sum() < -12


def test_every_case_of_the_benchmark_has_its_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded truth is that of the networks and evidence as they are made today."""
    scenarios, truth = (module(name, monkeypatch) for name in ("failure_scenarios", "failure_truth"))
    rows = truth.read_truths()
    assert rows.keys() >= {(name, seed) for name in scenarios.CASES for seed in range(3)}
    for (name, seed), row in rows.items():
        assert row["standard_error"] <= 0.0015
        if name in scenarios.CASES and seed == 0:
            network, evidence = scenarios.CASES[name].posed(seed)
            assert set(row["posterior"]) == {network.names[i] for i in np.flatnonzero(network.is_root)}
            answer = infer(network, evidence, 0.0, 0.1, exact=False)
            assert answer.log_evidence / np.log(10) == pytest.approx(row["log10_evidence"], abs=0.1)


def test_the_second_sampler_agrees_with_exact_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    scenarios, second = (
        module(name, monkeypatch) for name in ("failure_scenarios", "failure_second_sampler")
    )
    network = scenarios.make_network(60, 2.5, 0)
    evidence = scenarios.make_evidence(network, 2, 2, True, 0)
    exact = np.array([record.probability for record in infer(network, evidence, exact=True)])
    other = second.second_opinion(network, evidence, standard_error=0.004, seconds=20.0)
    assert other.standard_error <= 0.004
    known = ~np.isnan(other.probability)
    assert known[network.is_root].all()
    assert np.abs(other.probability - exact)[known].max() < 0.02


@pytest.mark.parametrize(("raised", "lean"), [(1.0, 1.0), (1.0, 0.7), (30.0, 0.7), (100.0, 1.0)])
def test_every_proposal_of_the_second_sampler_is_unbiased(
    raised: float, lean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenarios, second = (
        module(name, monkeypatch) for name in ("failure_scenarios", "failure_second_sampler")
    )
    network = scenarios.make_network(60, 2.5, 0, rarer=10.0)
    evidence = scenarios.make_evidence(network, 2, 2, False, 0)
    exact = infer(network, evidence, exact=True)
    monkeypatch.setattr(second, "RAISED", (raised,))
    monkeypatch.setattr(second, "LEANS", (lean,))
    other = second.second_opinion(network, evidence, standard_error=0.003, seconds=5.0)
    roots = np.flatnonzero(network.is_root)
    expected = np.array([record.probability for record in exact])
    assert np.abs(other.probability - expected)[roots].max() < 5 * other.standard_error
    assert other.log10_evidence == pytest.approx(exact.log_evidence / np.log(10), abs=0.02)


def test_a_run_is_compared_with_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark, scenarios, truth = (
        module(name, monkeypatch) for name in ("failure_inference", "failure_scenarios", "failure_truth")
    )
    network = scenarios.make_network(60, 2.5, 0)
    evidence = scenarios.make_evidence(network, 2, 2, True, 0)
    found = truth.find_truth(network, evidence, 5.0)
    assert (found["method"], found["standard_error"]) == ("exact", 0.0)
    row = benchmark.compare(network, evidence, 0.3, False, found)
    assert row["truth"] == "exact"
    assert row["error"] < 0.05
    assert row["top5_overlap"] >= 4


def test_a_new_run_replaces_its_own_lines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = module("failure_inference", monkeypatch)
    old = {"accuracy": [{"seed": 0, "error": 1}, {"seed": 1, "error": 2}]}
    assert benchmark.merged(old, "accuracy", [{"seed": 1, "error": 3}]) == [
        {"seed": 0, "error": 1},
        {"seed": 1, "error": 3},
    ]


@pytest.mark.skipif(
    find_spec("pgmpy") is None or find_spec("pyagrum") is None, reason="needs pgmpy and pyagrum"
)
@pytest.mark.filterwarnings("ignore")
def test_every_contender_answers_a_small_question(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = module("failure_peers", monkeypatch)
    edges = [("a", "c", 0.6), ("b", "c", 0.3), ("c", "d", 0.8)]
    model = FailureNetworkModel.from_edges(edges, {"a": 0.2, "b": 0.3, "c": 0.05, "d": 0.1})
    truth = {r.name: r.probability for r in model.posterior(["d"], exact=True)}
    for name, contender in peers.CONTENDERS.items():
        posterior, _ = contender(model, ["d"], [], 0.5)
        for cause, found in posterior.items():
            assert found == pytest.approx(truth[cause], abs=0.05), name
