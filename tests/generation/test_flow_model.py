from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from hub_models.generation.flow_model import flow_loss, new_network, update_average
from hub_models.generation.recipe import NetworkRecipe


def test_loss_of_the_best_velocity_for_one_image_is_zero():
    """With one image z the velocity is known from the mixture: (mixed - z) / s."""
    image = torch.full((1, 4, 4), 0.5)

    def velocity(mixed, timestep, class_labels):
        assert ((timestep >= 0) & (timestep <= 1000)).all()
        return SimpleNamespace(sample=(mixed - image) / (timestep / 1000).view(-1, 1, 1, 1))

    loss = flow_loss(velocity, image.expand(8, 1, 4, 4), torch.zeros(8, dtype=torch.long), torch.Generator())
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_noise_levels_of_a_batch_are_stratified():
    seen = []

    def velocity(mixed, timestep, class_labels):
        seen.append(timestep / 1000)
        return SimpleNamespace(sample=mixed)

    flow_loss(velocity, torch.zeros(10, 1, 2, 2), torch.zeros(10), torch.Generator())
    assert (seen[0] * 10).floor().tolist() == list(range(10))


def test_network_takes_every_label_and_none():
    network = new_network(NetworkRecipe(channels=[8, 24], attention=[1]), channels=3, size=8, classes=4)
    out = network(torch.randn(5, 3, 8, 8), torch.rand(5) * 1000, class_labels=torch.arange(5)).sample
    assert out.shape == (5, 3, 8, 8)
    assert [type(block).__name__ for block in network.down_blocks] == ["DownBlock2D", "AttnDownBlock2D"]


def test_average_moves_by_one_minus_decay():
    network, average = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    before = average.weight.clone()
    update_average(average, network, decay=0.9, step=1_000_000)
    assert torch.allclose(average.weight, 0.9 * before + 0.1 * network.weight, atol=1e-6)
    update_average(average, network, decay=0.9, step=0)  # so early, the decay is 0.1
    assert torch.allclose(average.weight, 0.09 * before + 0.91 * network.weight, atol=1e-6)
