from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn.functional import normalize

from hub_models.errors import RecipeError
from hub_models.training.vmf_generator import POSTERIORS, GeneratorRecipe, VmfGenerator, make_generator
from hub_models.von_mises_fisher import log_density, mean_resultant_length

SMALL = GeneratorRecipe(smoothing_steps=60)


@pytest.fixture(scope="module")
def process() -> VmfGenerator:
    return make_generator(SMALL, seed=1)


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def test_means_are_unit_and_spread_and_concentrations_fill_their_range(process: VmfGenerator):
    mean, kappa = process(process.inputs(4000, seeded()))
    torch.testing.assert_close(mean.norm(dim=-1), torch.ones(4000))
    assert (mean @ mean.T).min() <= 0.5
    assert 15 < kappa.min() < 18
    assert 28 < kappa.max() < 34


def test_one_seed_one_process_whatever_was_drawn_before():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = make_generator(SMALL, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    other = make_generator(SMALL, seed=3).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["scale"], make_generator(SMALL, seed=4).state_dict()["scale"])


@pytest.mark.parametrize("dim", [2, 3, 10])
def test_the_odds_are_those_of_the_vmf_against_the_uniform_density(dim: int):
    process = VmfGenerator(GeneratorRecipe(latent_dim=dim))
    first, second = (normalize(torch.randn(6, dim, generator=seeded(i)), dim=-1) for i in range(2))
    kp, cosine = torch.tensor(20.0), (first * second).sum(-1)
    expected = log_density(cosine, kp, dim) - log_density(cosine, 0 * kp, dim)
    torch.testing.assert_close(process.log_odds(first, second), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("positive", [True, False])
def test_partners_are_drawn_by_their_probability(process: VmfGenerator, positive: bool):
    """Against all of many candidates, weighted: with each anchor's latent their weights add up to one."""
    pairs = process.pairs(6000, 1, seeded())
    partner = pairs.positive if positive else pairs.negative[:, 0]
    drawn = (process(pairs.anchor)[0] * process(partner)[0]).sum(-1)
    anchors, candidates = process.inputs(1500, seeded(1)), process.inputs(3000, seeded(2))
    odds = process.log_odds(
        process.latents(anchors, seeded(3)).unsqueeze(1), process.latents(candidates, seeded(4))
    )
    weights = torch.sigmoid(odds if positive else -odds)
    weights = weights / weights.sum(dim=1, keepdim=True)
    cosines = process(anchors)[0] @ process(candidates)[0].T
    expected = (weights * cosines).sum(dim=1).mean()
    assert drawn.mean().item() == pytest.approx(expected.item(), abs=0.03)


def test_latents_of_each_family_scatter_as_their_concentration_says():
    inputs = torch.full((20000, 2), 0.4)
    for posterior in POSTERIORS:
        process = VmfGenerator(dataclasses.replace(SMALL, posterior=posterior))
        process.shift.fill_(3.0)
        mean, kappa = process(inputs)
        latents = process.latents(inputs, seeded())
        torch.testing.assert_close(latents.norm(dim=-1), torch.ones(20000))
        length = (latents * mean).sum(-1).mean()
        expected = {
            "vmf": mean_resultant_length(kappa[0], 2),
            "gaussian": 1 - 1 / (2 * kappa[0]),  # to first order, as of the vMF
            "laplace": 1 - 1 / kappa[0] ** 2,  # variance 2 / kappa^2 across the mean
            "injective": torch.tensor(1.0),
        }[posterior]
        torch.testing.assert_close(length, expected, atol=2e-3, rtol=0)


def test_pairs_have_their_shapes_and_come_from_the_generator_alone(process: VmfGenerator):
    torch.manual_seed(0)
    one = process.pairs(3, 2, seeded(8))
    torch.manual_seed(1)
    other = process.pairs(3, 2, seeded(8))
    assert one.anchor.shape == one.positive.shape == (3, 2)
    assert one.negative.shape == (3, 2, 2)
    assert all(torch.equal(getattr(one, f), getattr(other, f)) for f in ("anchor", "positive", "negative"))


def test_a_batch_of_one(process: VmfGenerator):
    assert process.pairs(1, 1, seeded()).negative.shape == (1, 1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"posterior": "cauchy"}, "posterior is 'cauchy'; choose from vmf, gaussian"),
        ({"latent_dim": 1}, "latent_dim must be at least 2"),
        ({"lowest_concentration": 0.0}, "are no range"),
        ({"lowest_concentration": 40.0}, "are no range"),
        ({"positive_concentration": -1.0}, "must be above 0"),
    ],
)
def test_impossible_processes_are_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)


def test_networks_that_never_spread_are_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(VmfGenerator, "_spans_the_sphere", lambda self: False)
    with pytest.raises(RecipeError, match="spreads over the sphere"):
        make_generator(dataclasses.replace(SMALL, smoothing_steps=0), seed=0)
