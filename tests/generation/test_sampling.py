from __future__ import annotations

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from hub_models.generation.flow_model import new_network
from hub_models.generation.recipe import NetworkRecipe
from hub_models.generation.sampling import generate
from hub_models.spell.spell_class_conditional import SpellClassConditionalPipeline


def test_samples_depend_on_seed_and_place_not_on_batches():
    torch.manual_seed(0)
    network = new_network(NetworkRecipe(channels=[8], attention=[]), channels=1, size=8, classes=3).eval()
    pipe = SpellClassConditionalPipeline(network, FlowMatchEulerDiscreteScheduler())
    labels = [0, 1, 2, 0, 1]
    together = generate(pipe, labels, 0, steps=2)
    assert together.shape == (5, 1, 8, 8)
    assert torch.allclose(together, generate(pipe, labels, 0, steps=2, batch_size=2), atol=1e-5)
    assert not torch.allclose(together[0], together[3], atol=0.1)
    assert not torch.allclose(together, generate(pipe, labels, 1, steps=2), atol=0.1)
