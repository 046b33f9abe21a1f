"""Loss prediction: an uncertainty head learns to predict, or to order, the losses of a frozen model."""

from __future__ import annotations

import torch
from torch import Tensor


def order_loss(uncertainty: Tensor, loss: Tensor, margin: float = 0.1) -> Tensor:
    """``losspred-order`` of Pretrained Visual Uncertainties: order pairs, whatever the scale of the losses.

    Items 2k and 2k + 1 form a pair; the one with the larger loss must be more uncertain by ``margin``:
    mean of max(0, margin - s (u_a - u_b)), s = +1 if l_a > l_b else -1. Exact ties carry no order and are
    left out (the released code gives them s = -1).

    Args:
        uncertainty: (B,) with an even B.
        loss: (B,) detached per-sample losses.

    Returns:
        A scalar; 0 where every pair is tied.
    """
    if len(uncertainty) % 2:
        raise ValueError(f"pairs need an even batch, got {len(uncertainty)}")
    difference = uncertainty[0::2] - uncertainty[1::2]
    sign = torch.sign(loss[0::2] - loss[1::2])
    hinge = torch.relu(margin - sign * difference) * sign.abs()
    return hinge.sum() / sign.abs().sum().clamp_min(1)


def squared_loss(uncertainty: Tensor, loss: Tensor) -> Tensor:
    """The earlier variant: predict the loss itself by least squares. Inputs (B,), returns a scalar."""
    return torch.nn.functional.mse_loss(uncertainty, loss)


LOSSES = {"order": order_loss, "l2": squared_loss}
