from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hub_models.training.losses import LOSSES, order_loss, squared_loss

# Few distinct values, so that ties are common.
PAIR = st.tuples(
    st.floats(-2, 2, width=32),
    st.floats(-2, 2, width=32),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
)


def as_batch(pairs: list[tuple[float, float, float, float]]) -> tuple[Tensor, Tensor]:
    uncertainty = [value for left, right, _, _ in pairs for value in (left, right)]
    loss = [value for _, _, left, right in pairs for value in (left, right)]
    return torch.tensor(uncertainty), torch.tensor(loss)


def order_loss_by_hand(pairs: list[tuple[float, float, float, float]], margin: float) -> float:
    hinges = []
    for left, right, left_loss, right_loss in pairs:
        if left_loss > right_loss:
            hinges.append(max(0.0, margin - (left - right)))
        elif left_loss < right_loss:
            hinges.append(max(0.0, margin - (right - left)))
    return sum(hinges) / len(hinges) if hinges else 0.0


@given(pairs=st.lists(PAIR, min_size=1, max_size=12), margin=st.floats(0, 1))
def test_order_loss_is_the_mean_hinge_of_the_pairs_that_have_an_order(pairs, margin: float):
    uncertainty, loss = as_batch(pairs)
    expected = order_loss_by_hand(pairs, margin)
    assert math.isclose(order_loss(uncertainty, loss, margin).item(), expected, abs_tol=1e-5)


@given(pairs=st.lists(PAIR, min_size=1, max_size=12))
def test_order_loss_does_not_see_the_scale_of_the_losses(pairs):
    uncertainty, loss = as_batch(pairs)
    torch.testing.assert_close(order_loss(uncertainty, loss), order_loss(uncertainty, 1000 * loss.exp()))


def test_the_margin_of_the_paper_is_the_default():
    assert order_loss(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 1.0])).item() == pytest.approx(0.1)
    assert order_loss(torch.tensor([1.1, 1.0]), torch.tensor([2.0, 1.0])).item() == pytest.approx(0, abs=1e-6)


def test_order_loss_pulls_the_pair_apart():
    uncertainty = torch.tensor([0.3, 0.3, 0.9, 0.1], requires_grad=True)
    order_loss(uncertainty, torch.tensor([1.0, 2.0, 2.0, 1.0])).backward()
    # The first pair must swap, the second already stands apart.
    assert uncertainty.grad.tolist() == [0.5, -0.5, 0.0, 0.0]


def test_tied_pairs_carry_no_gradient():
    uncertainty = torch.tensor([0.3, 0.4], requires_grad=True)
    loss = order_loss(uncertainty, torch.tensor([1.0, 1.0]))
    loss.backward()
    assert loss.item() == 0
    assert uncertainty.grad.tolist() == [0.0, 0.0]


def test_an_odd_batch_has_no_pairs():
    with pytest.raises(ValueError, match="even batch, got 3"):
        order_loss(torch.zeros(3), torch.zeros(3))


def test_squared_loss_is_the_mean_squared_error():
    assert squared_loss(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])).item() == pytest.approx(2.5)


def test_recipes_know_both_losses():
    assert (LOSSES["order"], LOSSES["l2"]) == (order_loss, squared_loss)
