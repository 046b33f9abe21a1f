"""The benchmarks of shielded generation: their parts against hand-made cases, and a run that says nothing."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from hub_models.evaluation.bootstrap import Interval
from hub_models.evaluation.results import read_results
from hub_models.generation.flow_model import new_network
from hub_models.generation.labelled_images import LabelledImages
from hub_models.generation.recipe import NetworkRecipe
from hub_models.generation.sampling import generate
from hub_models.spell.spell_class_conditional import SpellClassConditionalPipeline

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(request.param)


@pytest.fixture
def pipe() -> SpellClassConditionalPipeline:
    torch.manual_seed(0)
    network = new_network(NetworkRecipe(channels=[8], attention=[]), channels=1, size=8, classes=3).eval()
    return SpellClassConditionalPipeline(network, FlowMatchEulerDiscreteScheduler())


def made(pipe: SpellClassConditionalPipeline, scale: float = 3.0) -> torch.Tensor:
    return generate(pipe, [0, 0, 1, 1], 0, steps=4, guidance_scale=scale)


@pytest.mark.parametrize("benchmark", ["generated_samples"], indirect=True)
def test_nearest_image_is_found_over_all_chunks(benchmark):
    pixels = torch.randint(0, 256, (2100, 1, 2, 2), dtype=torch.uint8)
    images = LabelledImages(pixels, torch.zeros(2100, dtype=torch.long), ("one",))
    queries = images.samples()[[3, 1500, 2099]] + 1e-3
    distances = benchmark.nearest_by_brute_force(queries, images)
    everything = images.samples().double().numpy().reshape(2100, -1)
    for query, found in zip(queries.double().numpy().reshape(3, -1), distances, strict=True):
        assert found == pytest.approx(np.linalg.norm(everything - query, axis=1).min(), rel=1e-12)


@pytest.mark.parametrize("benchmark", ["generated_samples"], indirect=True)
def test_delivered_samples_are_bytes(benchmark):
    samples = torch.tensor([-3.0, -1.0, 0.001, 1.0, 1.2])
    delivered = benchmark.as_delivered(samples)
    assert delivered.tolist() == pytest.approx([-1, -1, 1 / 255, 1, 1], abs=1e-6)
    assert torch.equal(benchmark.as_delivered(delivered), delivered)


@pytest.mark.parametrize("benchmark", ["generated_samples"], indirect=True)
def test_laplacian_of_a_ramp_is_zero_and_of_a_dot_is_not(benchmark):
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    dot = torch.zeros(1, 1, 5, 5)
    dot[..., 2, 2] = 1
    assert benchmark.laplacian(torch.cat([ramp, dot])).tolist() == pytest.approx([0, 8 / 9])


@pytest.mark.parametrize("benchmark", ["diversity_peers"], indirect=True)
def test_guidance_in_an_interval_has_both_ends(benchmark, pipe):
    always = benchmark.IntervalGuidance.of(pipe, low=0.0, high=1.0)
    never = benchmark.IntervalGuidance.of(pipe, low=0.0, high=0.0)
    assert torch.allclose(made(always), made(pipe))
    assert torch.allclose(made(never), made(pipe, scale=1.0))
    late = benchmark.IntervalGuidance.of(pipe, low=0.0, high=0.5)
    assert not torch.allclose(made(late), made(pipe))
    assert late.guidance_scale == 3.0


@pytest.mark.parametrize("benchmark", ["diversity_peers"], indirect=True)
def test_cads_changes_the_condition_only_where_it_anneals(benchmark, pipe):
    late = benchmark.Cads.of(pipe, low=1.0, high=1.1, scale=1.0)  # kept = 1 at every noise level
    assert torch.equal(made(late), made(pipe))
    annealed = benchmark.Cads.of(pipe, low=0.2, high=0.9, scale=1.0)
    assert not torch.allclose(made(annealed), made(pipe))
    assert torch.equal(made(annealed), made(annealed))
    without = generate(annealed, [3, 3], 0, steps=4)  # no class, nothing to anneal
    assert torch.equal(without, generate(pipe, [3, 3], 0, steps=4))
    assert not pipe.unet.class_embedding._forward_hooks


@pytest.mark.parametrize("benchmark", ["diversity_peers"], indirect=True)
def test_particles_are_pushed_along_the_gradient_of_the_potential(benchmark):
    particles = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    squares = (particles[:, None] - particles[None, :]).square().sum(2)
    others = squares[~torch.eye(4, dtype=torch.bool)]
    width = others.detach().median() / math.log(4)
    potential = -torch.exp(-squares / width).triu(1).sum()
    (gradient,) = torch.autograd.grad(potential, particles)
    assert torch.allclose(benchmark._repulsion(particles.detach()), gradient, atol=1e-6)
    assert benchmark._repulsion(torch.ones(3, 5)).abs().max() == 0


@pytest.mark.parametrize("benchmark", ["diversity_peers"], indirect=True)
def test_particle_guidance_spreads_a_group_and_leaves_others(benchmark, pipe):
    weak = benchmark.ParticleGuidance.of(pipe, strength=0.0, group=2)
    assert torch.equal(made(weak), made(pipe))
    strong = made(benchmark.ParticleGuidance.of(pipe, strength=0.5, group=2))
    plain = made(pipe)
    assert (strong[0] - strong[1]).norm() > (plain[0] - plain[1]).norm()
    alone = benchmark.ParticleGuidance.of(pipe, strength=0.5, group=1)
    assert torch.equal(made(alone), plain)


@pytest.mark.parametrize("benchmark", ["diversity"], indirect=True)
def test_choice_keeps_precision_and_takes_the_most_varied(benchmark):
    def point(method: str, precision: float, recall: float, **values: float):
        levels = {"precision": precision, "recall": recall, "coverage": 0.5}
        return benchmark.Setting(method, values), {k: Interval(v, v, v, 1) for k, v in levels.items()}

    points = [point(method, 0.9, 0.5) for method in benchmark.METHODS if method not in ("SPELL", "CADS")]
    points += [point("SPELL", 0.89, 0.7, radius=1), point("SPELL", 0.885, 0.8, radius=2)]
    points += [
        point("SPELL", 0.5, 0.99, radius=3),
        point("CADS", 0.6, 0.9, s=1),
        point("CADS", 0.7, 0.8, s=2),
    ]
    chosen = {setting.method: setting.values for setting in benchmark.choose(points)}
    assert chosen["SPELL"] == {"radius": 2}
    assert chosen["CADS"] == {"s": 2}
    assert list(chosen) == list(benchmark.METHODS)


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["protection"], indirect=True)
def test_protection_runs_to_its_end(benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "CHECKPOINTS", tmp_path)
    benchmark.main("digits", 240)  # halves of twelve of a digit: quality needs more than five
    inside = {
        (result.model, result.metric, result.read_out): result.value
        for folder in ("digits-flow", "digits-flow-memorised")
        for result in read_results(tmp_path / folder / "results.jsonl")
    }
    assert inside["digits-flow-memorised", "inside 5%", "plain"] >= 0.8
    assert inside["digits-flow-memorised", "inside 5%", "shielded 5%"] == 0
    assert inside["digits-flow", "inside 25%", "shielded 25%"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["diversity"], indirect=True)
def test_diversity_runs_to_its_end_and_goes_on_where_it_was(benchmark, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(benchmark, "ROOT", tmp_path)
    monkeypatch.setattr(benchmark, "STEPS", 2)
    every = {setting.method: setting for setting in benchmark.grid(18.0)}
    monkeypatch.setattr(benchmark, "grid", lambda typical: list(every.values()))
    benchmark.main("digits", 200, 200)
    assert (tmp_path / "docs" / "diversity.png").is_file()
    results = read_results(tmp_path / "digits-flow" / "results.jsonl")
    assert {result.read_out for result in results} == set(benchmark.METHODS)
    capsys.readouterr()
    monkeypatch.setattr(benchmark, "generate", None)  # a second run needs no samples
    benchmark.main("digits", 200, 200)
    assert "recall" in capsys.readouterr().out
