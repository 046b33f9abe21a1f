from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_batch import infer_batch
from hub_models.noisy_or_compiled import CompiledSampler, is_available
from hub_models.noisy_or_evidence import Evidence, pose
from hub_models.noisy_or_exact import exact_plan, exact_posterior
from hub_models.noisy_or_moments import Moments
from hub_models.noisy_or_proposal import absent_tilt, propose
from hub_models.noisy_or_sampling import BackwardSampler

from .random_failure_networks import enumerated, random_evidence, random_network

SAMPLERS = [
    BackwardSampler,
    pytest.param(
        CompiledSampler, marks=pytest.mark.skipif(not is_available(), reason="numba is not installed")
    ),
]


def standard_errors(moments: Moments, truth: np.ndarray) -> np.ndarray:
    """How many standard errors each estimate is off; those of a share of ``truth`` where that is larger."""
    p = moments.probability
    variance = (moments.present_square * (1 - 2 * p) + p**2 * moments.square) / moments.weight**2
    floor = truth * (1 - truth) / moments.effective
    return np.abs(p - truth) / np.sqrt(np.maximum(variance, floor) + 1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("seed", range(40))
def test_samples_agree_with_exact_sums(sampler: type, seed: int) -> None:
    """Forty networks, evidence anywhere: on roots, in the middle, present and absent, rare and common."""
    failures = (8, 15, 30, 60)[seed % 4]
    network = random_network(failures, seed, most_causes=3, rarest=(1e-2, 1e-6)[seed % 2])
    case = pose(network, random_evidence(network, 1 + seed % 4, seed % 5, seed))
    plan = exact_plan(case)
    assert plan is not None
    truth = exact_posterior(case, plan)
    moments = sampler(case, propose([case])).moments(20_000, seed, truth.log_evidence)
    assert standard_errors(moments, truth.probability).max() < 4
    spread = np.sqrt(1 / moments.effective)
    assert moments.log_evidence == pytest.approx(truth.log_evidence, abs=4 * spread + 1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_failure_and_the_evidence_are_unbiased_with_probabilities_0_and_1(sampler: type) -> None:
    checked = 0
    for seed in range(60):
        network = random_network(9, seed, extreme=0.35)
        evidence = random_evidence(network, 2, 2, seed)
        truth, chance = enumerated(network, evidence)
        if chance == 0:
            continue
        case = pose(network, evidence)
        moments = sampler(case, propose([case])).moments(5_000, seed, 0.0)
        assert standard_errors(moments, truth[case.kept]).max() < 5
        assert moments.log_evidence == pytest.approx(np.log(chance), abs=6 / np.sqrt(moments.effective))
        checked += 1
    assert checked > 15


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 10), st.integers(0, 100_000), st.integers(0, 3), st.integers(0, 3))
def test_batches_agree_with_enumeration(failures: int, seed: int, present: int, absent: int) -> None:
    network = random_network(failures, seed, extreme=0.1)
    rows, truths = torch.full((3, failures), -1), []
    for row in range(3):
        evidence = random_evidence(network, present, absent, seed + row)
        rows[row, evidence.present], rows[row, evidence.absent] = 1, 0
        truths.append(enumerated(network, evidence))
    answer = infer_batch(network, rows, samples=4000, seed=seed)
    for row, (truth, chance) in enumerate(truths):
        if chance == 0:
            assert answer.log_evidence[row] == -np.inf
            assert answer.probability[row].isnan().all()
            continue
        effective = float(answer.effective_samples[row])
        assume(effective > 100)
        assert np.abs(answer.probability[row].numpy() - truth).max() < 5 * 0.5 / np.sqrt(effective)
        assert float(answer.log_evidence[row]) == pytest.approx(np.log(chance), abs=6 / np.sqrt(effective))


def test_a_row_does_not_depend_on_the_other_rows_evidence() -> None:
    network = random_network(12, 1)
    rows = torch.full((2, 12), -1)
    rows[0, 3], rows[1, 3], rows[1, 5] = 1, 0, 1
    alone = infer_batch(network, rows[:1], samples=20_000)
    both = infer_batch(network, rows, samples=20_000)
    assert (alone.probability[0] - both.probability[0]).abs().max() < 0.02


def test_rare_evidence_does_not_collapse() -> None:
    """Three failures that share one rare cause far away; forward sampling would meet them once in 10^9 draws."""
    edges, leak = [], {"cause": 1e-8}
    for arm in range(3):
        names = ["cause", *(f"{arm}-{step}" for step in range(6))]
        edges += [(a, b, 0.9) for a, b in itertools.pairwise(names)]
        leak |= dict.fromkeys(names[1:], 1e-6)
    network = NoisyOr.from_edges(edges, leak)
    case = pose(network, Evidence(network.positions(["0-5", "1-5", "2-5"]), np.zeros(0, int)))
    plan = exact_plan(case)
    assert plan is not None
    truth = exact_posterior(case, plan)
    moments = BackwardSampler(case, propose([case])).moments(4_000, 0, truth.log_evidence)
    assert truth.log_evidence < np.log(1e-8)
    assert moments.effective > 1_000
    assert np.abs(moments.probability - truth.probability).max() < 0.03


def test_the_tilt_of_absent_evidence_is_exact_on_trees() -> None:
    network = random_network(9, 4, most_causes=1)
    evidence = random_evidence(network, 0, 3, 2)
    case = pose(network, evidence).causes_only
    tilt = absent_tilt(case.network, case.present[None], case.absent[None])[0]
    root = int(np.flatnonzero(case.network.is_root & ~case.absent)[0])
    truth, _ = enumerated(network, evidence)
    prior = case.network.leak[root]
    raised = prior * np.exp(tilt[root])
    assert raised / (raised + 1 - prior) == pytest.approx(truth[case.kept[root]], abs=1e-6)


def test_the_same_seed_gives_the_same_numbers() -> None:
    network = random_network(30, 0)
    case = pose(network, random_evidence(network, 2, 2, 0))
    sampler = BackwardSampler(case, propose([case]))
    first, second, other = (sampler.moments(500, seed, 0.0) for seed in (1, 1, 2))
    assert (first.present == second.present).all()
    assert (first.present != other.present).any()


def test_sums_add_up() -> None:
    generator = np.random.default_rng(0)
    states, weight = (generator.random((5, 600)) < 0.3).astype(float), generator.normal(size=600)
    whole = Moments.of_sums(weight, 0.5, states @ np.exp(weight - 0.5), states @ np.exp(weight - 0.5) ** 2)
    parts = [
        Moments.of_sums(w, 0.5, x @ np.exp(w - 0.5), x @ np.exp(w - 0.5) ** 2)
        for w, x in ((weight[:200], states[:, :200]), (weight[200:], states[:, 200:]))
    ]
    total = parts[0] + parts[1]
    np.testing.assert_allclose(total.probability, whole.probability)
    assert total.effective == pytest.approx(whole.effective)
    assert total.pareto_k == pytest.approx(whole.pareto_k)


def test_intervals_cover_in_about_95_of_100_runs() -> None:
    network = random_network(12, 7)
    evidence = random_evidence(network, 2, 1, 7)
    truth, _ = enumerated(network, evidence)
    case = pose(network, evidence)
    sampler = BackwardSampler(case, propose([case]))
    open_ = case.possible & ~case.present
    covered = []
    for seed in range(200):
        low, high = sampler.moments(400, seed, 0.0).interval()
        inside = (low <= truth[case.kept] + 1e-12) & (truth[case.kept] <= high + 1e-12)
        covered.append(inside[open_].mean())
    assert 0.925 < np.mean(covered) < 0.98


@pytest.mark.parametrize(("shape", "low", "high"), [(0.2, 0.0, 0.4), (0.9, 0.7, 1.1)])
def test_the_pareto_diagnostic_finds_the_tail(shape: float, low: float, high: float) -> None:
    uniform = np.random.default_rng(0).random(50_000)
    weight = (uniform**-shape - 1) / shape + 1
    assert low < Moments.of_sums(np.log(weight), 0.0, np.zeros(1), np.zeros(1)).pareto_k < high


def test_the_pareto_diagnostic_is_calm_about_equal_weights() -> None:
    weight = np.repeat([0.0, 1.0], [5_000, 5_000])
    assert Moments.of_sums(weight, 0.0, np.zeros(1), np.zeros(1)).pareto_k == 0
