from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_models.errors import FailureNetworkError
from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_evidence import Evidence, pose, read_evidence

from .random_failure_networks import all_states, enumerated, random_evidence, random_network

NOTHING = np.zeros(0, dtype=np.int64)


def chain(length: int, trigger: float = 0.9) -> NoisyOr:
    edges = [(f"f{i}", f"f{i + 1}", trigger) for i in range(length - 1)]
    return NoisyOr.from_edges(edges[::-1], {"f0": 0.1})


def test_states_have_the_probability_of_the_formula() -> None:
    network = NoisyOr.from_edges([("a", "c", 0.5), ("b", "c", 0.6)], {"a": 0.1, "b": 0.3, "c": 0.2})
    assert np.exp(network.log_probability([True, True, False])) == pytest.approx(0.1 * 0.3 * 0.8 * 0.5 * 0.4)
    assert np.exp(network.log_probability([True, True, True])) == pytest.approx(0.1 * 0.3 * 0.84)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10_000), st.sampled_from([0.0, 0.4]))
def test_probabilities_of_all_states_sum_to_one(failures: int, seed: int, extreme: float) -> None:
    network = random_network(failures, seed, extreme=extreme)
    assert np.exp(network.log_probability(all_states(network))).sum() == pytest.approx(1, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10_000))
def test_marginals_are_upper_bounds_and_exact_for_trees(failures: int, seed: int) -> None:
    network = random_network(failures, seed)
    true, _ = enumerated(network, Evidence(NOTHING, NOTHING))
    assert (network.marginals() >= true - 1e-12).all()
    tree = random_network(failures, seed, most_causes=1)
    true, _ = enumerated(tree, Evidence(NOTHING, NOTHING))
    np.testing.assert_allclose(tree.marginals(), true, atol=1e-12)


def test_samples_have_the_marginals() -> None:
    network = random_network(8, 3)
    true, _ = enumerated(network, Evidence(NOTHING, NOTHING))
    states = network.sample(40_000, np.random.default_rng(0))
    assert (np.abs(states.mean(axis=0) - true) < 4 * np.sqrt(true * (1 - true) / 40_000)).all()


def test_the_order_of_names_and_edges_changes_nothing() -> None:
    network = random_network(8, 5)
    shuffled = np.random.default_rng(0).permutation(8)
    other = NoisyOr.from_edges(
        [
            (network.names[c], network.names[e], q)
            for c, e, q in list(zip(network.cause, network.effect, network.trigger, strict=True))[::-1]
        ],
        {network.names[i]: network.leak[i] for i in shuffled},
    )
    states = all_states(network)
    moved = states[:, [network.index[name] for name in other.names]]
    np.testing.assert_allclose(other.log_probability(moved), network.log_probability(states), atol=1e-12)


def test_every_cause_comes_before_its_effects() -> None:
    network = random_network(40, 1)
    place = np.argsort(network.order)
    assert (place[network.cause] < place[network.effect]).all()


def test_ancestors_are_what_a_failure_can_come_from() -> None:
    network = NoisyOr.from_edges([("a", "b", 0.5), ("b", "c", 0.5), ("a", "d", 0.5)], {"a": 0.1, "x": 0.1})
    found = network.ancestors(network.positions(["c"]))
    assert [network.names[i] for i in found] == ["a", "b", "c"]


def test_a_chain_of_5000_needs_no_recursion() -> None:
    network = chain(5000, trigger=1.0)
    assert len(network.ancestors(network.positions(["f4999"]))) == 5000
    np.testing.assert_allclose(network.marginals(), 0.1)


def test_an_intervention_cuts_the_edges_into_a_failure() -> None:
    network = NoisyOr.from_edges([("a", "b", 0.5), ("b", "c", 0.5)], {"a": 0.1})
    repaired = network.fixed(absent=network.positions(["b"]))
    np.testing.assert_allclose(repaired.marginals(), [0.1, 0, 0])
    provoked = network.fixed(present=network.positions(["b"]))
    np.testing.assert_allclose(provoked.marginals(), [0.1, 1, 0.5])


@pytest.mark.parametrize(
    ("edges", "leak", "message"),
    [
        ([("a", "b", 0.5), ("b", "c", 0.5), ("c", "b", 0.5)], {"a": 0.1}, "cycle: (b -> c -> b|c -> b -> c)"),
        ([("a", "a", 0.5)], {"a": 0.1}, "cannot cause itself: 'a'"),
        ([("a", "b", 0.5), ("a", "b", 0.4)], {"a": 0.1}, "more than once: 'a -> b'"),
        ([("a", "b", 1.5)], {"a": 0.1}, "'a' -> 'b' is 1.5"),
        ([("a", "b", float("nan"))], {"a": 0.1}, "'a' -> 'b' is nan"),
        ([("a", "b", 0.5)], {"a": -0.1}, "leak of 'a' is -0.1"),
        ([("a", "b", 0.5)], {}, "no probability for 'a'"),
        ([("a", "b")], {"a": 0.1}, "must be .cause, effect, trigger"),
        ([], {}, "empty"),
        ([("", "b", 0.5)], {"": 0.1}, "non-empty text"),
    ],
)
def test_what_is_no_network_is_refused_by_name(
    edges: list[tuple[str, str, float]], leak: dict[str, float], message: str
) -> None:
    with pytest.raises(FailureNetworkError, match=message):
        NoisyOr.from_edges(edges, leak)


def test_stages_of_unknown_failures_are_refused() -> None:
    with pytest.raises(FailureNetworkError, match=r"'coatin' .nearest: 'coating'"):
        NoisyOr.from_edges([], {"coating": 0.1}, {"coatin": "x"})


def test_unknown_names_come_with_the_nearest() -> None:
    network = NoisyOr.from_edges([], {"coating too thin": 0.1, "weld porous": 0.1})
    with pytest.raises(FailureNetworkError, match=r"'coating to thin' .nearest: 'coating too thin'"):
        read_evidence(network, ["coating to thin"], [])


def test_a_failure_cannot_be_present_and_absent() -> None:
    network = NoisyOr.from_edges([], {"a": 0.1})
    with pytest.raises(FailureNetworkError, match="'a' is given as present and as absent"):
        read_evidence(network, ["a"], ["a"])


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 9), st.integers(0, 100_000), st.integers(0, 3), st.integers(0, 3))
def test_evidence_is_refused_exactly_if_its_probability_is_zero(
    failures: int, seed: int, present: int, absent: int
) -> None:
    network = random_network(failures, seed, extreme=0.5)
    evidence = random_evidence(network, present, absent, seed)
    _, chance = enumerated(network, evidence)
    if chance > 0:
        case = pose(network, evidence)
        posterior, _ = enumerated(network, evidence)
        assert (posterior[case.kept[case.absent]] == 0).all()
        assert ((posterior > 0)[case.kept] == case.possible).all()
    else:
        with pytest.raises(FailureNetworkError, match="probability zero"):
            pose(network, evidence)
