from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hub_models.uncertainty_head import UncertaintyHead


def trained(head: UncertaintyHead, spread: float = 0.5) -> UncertaintyHead:
    """Weights and statistics that are no special case."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(0, spread)
    width = len(head.input_mean)
    head.fit_input_statistics(torch.randn(width), torch.rand(width) + 0.5)
    return head


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
@torch.no_grad()
def test_the_head_is_the_papers_mlp(depth: int) -> None:
    """By hand in numpy: standardise, (linear, leaky ReLU) x depth, linear, softplus, + 1e-6."""
    torch.manual_seed(depth)
    head = trained(UncertaintyHead(5, width=7, depth=depth)).double()
    inputs = torch.randn(11, 5, dtype=torch.float64)
    values = (inputs.numpy() - head.input_mean.numpy()) / head.input_scale.numpy()
    linears = [layer for layer in head.members[0] if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linears] == [7] * depth + [1]
    for layer in linears:
        values = values @ layer.weight.numpy().T + layer.bias.numpy()
        if layer is not linears[-1]:
            values = np.where(values > 0, values, 0.01 * values)
    np.testing.assert_allclose(head(inputs), np.log1p(np.exp(values[:, 0])) + 1e-6)


def test_the_default_is_the_papers_size() -> None:
    shapes = [tuple(p.shape) for p in UncertaintyHead(1280).members[0].parameters()]
    assert shapes == [(512, 1280), (512,), (512, 512), (512,), (1, 512), (1,)]


@torch.no_grad()
def test_members_are_averaged() -> None:
    torch.manual_seed(0)
    head = trained(UncertaintyHead(4, width=3, depth=1, members=3))
    inputs = torch.randn(6, 4)
    singles = []
    for member in head.members:
        single = UncertaintyHead(4, width=3, depth=1)
        single.members[0].load_state_dict(member.state_dict())
        single.fit_input_statistics(head.input_mean, head.input_scale)
        singles.append(single(inputs))
    torch.testing.assert_close(head(inputs), torch.stack(singles).mean(dim=0))


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
@torch.no_grad()
def test_the_output_is_positive_and_finite_for_any_input(size: float) -> None:
    torch.manual_seed(0)
    uncertainty = trained(UncertaintyHead(8, width=16))(torch.randn(200, 8) * size)
    assert uncertainty.shape == (200,)
    assert (uncertainty >= 1e-6).all()
    assert torch.isfinite(uncertainty).all()


def test_a_constant_column_keeps_a_scale_of_one() -> None:
    head = UncertaintyHead(3)
    head.fit_input_statistics(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 1e-9]))
    assert head.input_mean.tolist() == [1, 2, 3]
    assert head.input_scale.tolist() == [1, 2, 1]


def test_the_statistics_are_part_of_the_state() -> None:
    head = UncertaintyHead(2, width=3, depth=1)
    assert set(head.state_dict()) == {
        "input_mean",
        "input_scale",
        *(f"members.0.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")),
    }
