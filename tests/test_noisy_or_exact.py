from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_elimination import eliminate
from hub_models.noisy_or_evidence import Evidence, pose
from hub_models.noisy_or_exact import _solve, exact_plan, exact_posterior
from hub_models.noisy_or_explanation import _search, explain

from .random_failure_networks import all_states, enumerated, random_evidence, random_network


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(0, 100_000),
    st.integers(0, 4),
    st.integers(0, 4),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([1e-3, 1e-8]),
)
def test_exact_equals_enumeration(
    failures: int, seed: int, present: int, absent: int, extreme: float, rarest: float
) -> None:
    network = random_network(failures, seed, extreme=extreme, rarest=rarest)
    evidence = random_evidence(network, present, absent, seed)
    expected, chance = enumerated(network, evidence)
    assume(chance > 1e-12)
    case = pose(network, evidence)
    plan = exact_plan(case)
    assert plan is not None
    answer = exact_posterior(case, plan)
    np.testing.assert_allclose(answer.probability, expected[case.kept], atol=1e-9)
    assert answer.log_evidence == pytest.approx(np.log(chance), abs=1e-9 if rarest > 1e-4 else 1e-6)
    assert answer.error < 1e-5


def test_many_causes_make_no_wide_table() -> None:
    causes = [f"c{i}" for i in range(200)]
    network = NoisyOr.from_edges([(c, "e", 0.1) for c in causes], dict.fromkeys(causes, 0.01) | {"e": 0.001})
    case = pose(network, Evidence(network.positions(["e"]), np.zeros(0, int)))
    plan = exact_plan(case)
    assert plan is not None
    assert plan.width <= 2
    answer = exact_posterior(case, plan)
    chance = 1 - 0.999 * (1 - 0.1 * 0.01) ** 200
    joint = 0.01 * (1 - 0.999 * 0.9 * (1 - 0.1 * 0.01) ** 199)
    assert np.exp(answer.log_evidence) == pytest.approx(chance, abs=1e-12)
    np.testing.assert_allclose(answer.probability[case.network.is_root], joint / chance, atol=1e-12)


def test_a_chain_of_5000_is_solved() -> None:
    edges = [(f"f{i}", f"f{i + 1}", 0.999) for i in range(4999)]
    network = NoisyOr.from_edges(edges, {"f0": 0.1})
    case = pose(network, Evidence(network.positions(["f4999"]), np.zeros(0, int)))
    plan = exact_plan(case)
    assert plan is not None
    answer = exact_posterior(case, plan)
    assert np.exp(answer.log_evidence) == pytest.approx(0.1 * 0.999**4999)
    np.testing.assert_allclose(answer.probability, 1)


def test_elimination_knows_the_width_of_cycles_and_cliques() -> None:
    cycle = eliminate([(i, (i + 1) % 30) for i in range(30)], 30, most_width=5)
    assert cycle is not None
    assert cycle.width == 2
    assert eliminate([tuple(range(8))], 8, most_width=6) is None
    clique = eliminate([tuple(range(8))], 8, most_width=7)
    assert clique is not None
    assert (clique.width, clique.cells) == (7, 2**9 - 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10), st.integers(0, 100_000), st.integers(1, 3), st.integers(0, 2))
def test_the_most_probable_explanation_is_the_best_state(
    failures: int, seed: int, present: int, absent: int
) -> None:
    network = random_network(failures, seed)
    evidence = random_evidence(network, present, absent, seed)
    case = pose(network, evidence).causes_only
    states = all_states(case.network)
    states = states[states[:, case.present].all(axis=1) & ~states[:, case.absent].any(axis=1)]
    best = case.network.log_probability(states).max()
    found = explain(network, evidence)
    assert found.exact
    assert found.log_probability == pytest.approx(best, abs=1e-9)
    state = np.isin(case.network.names, found.present)
    assert case.network.log_probability(state) == pytest.approx(best, abs=1e-9)
    assert case.network.log_probability(_search(case, seed=0)) == pytest.approx(best, abs=1e-9)


def test_rounding_is_noticed_and_mended_by_longer_floats() -> None:
    """Two observed effects of the same six very rare causes: the helper variables subtract nearly equal numbers."""
    causes = [f"c{i}" for i in range(6)]
    edges = [(c, e, 0.1 + 0.05 * i) for e in ("x", "y", "z") for i, c in enumerate(causes)]
    network = NoisyOr.from_edges(edges, dict.fromkeys(causes, 1e-9) | dict.fromkeys("xyz", 1e-12))
    evidence = Evidence(network.positions(["x", "y", "z"]), np.zeros(0, int))
    case = pose(network, evidence)
    plan = exact_plan(case)
    assert plan is not None
    rounded = _solve(case, plan, np.float64)
    longer = exact_posterior(case, plan)
    q = np.array([0.1 + 0.05 * i for i in range(6)])
    expected = q**3 / (q**3).sum()  # one cause alone, to first order in 1e-9
    roots = case.network.is_root
    off = np.abs(rounded.probability[roots] - expected).max()
    assert rounded.error > off / 100
    if np.finfo(np.longdouble).eps < 1e-18:
        assert longer.error < rounded.error
        np.testing.assert_allclose(longer.probability[roots], expected, atol=max(1e-4, 10 * longer.error))
