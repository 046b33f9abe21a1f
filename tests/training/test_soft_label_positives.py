from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from hub_models.errors import RecipeError
from hub_models.training.contrastive_losses import VARIANTS, Variant
from hub_models.training.soft_label_positives import InBatchMCInfoNCE, draw_partners, partner_batches
from hub_models.von_mises_fisher import sample

SHARES = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0.2, 0.3, 0.5], [0, 0, 1]])


def partner_chances(shares: np.ndarray) -> np.ndarray:
    """P(partner j | anchor i), by the sum over labels."""
    chances = np.zeros((len(shares), len(shares)))
    for i, own in enumerate(shares):
        for label, chance in enumerate(own):
            others = shares[:, label].copy()
            others[i] = 0
            if chance:
                chances[i] += chance * others / others.sum()
    return chances


def test_partners_come_as_often_as_their_votes_say():
    generator, draws = np.random.default_rng(0), 4000
    counts = np.zeros((5, 5))
    for _ in range(draws):
        counts[np.arange(5), draw_partners(SHARES, generator)] += 1
    expected = partner_chances(SHARES)
    assert (counts[expected == 0] == 0).all()  # among them every image with itself
    error = 4.5 * np.sqrt(expected * (1 - expected) / draws)
    assert (abs(counts / draws - expected) <= error).all()


def test_an_epoch_has_every_image_once_as_an_anchor():
    shares = np.tile(SHARES, (4, 1))
    images = np.arange(20) + 100
    epoch = list(partner_batches(shares, images, 4)(np.random.default_rng(0)))
    assert len(epoch) == 5
    anchors = np.concatenate([numbers[:4] for numbers, _ in epoch])
    assert sorted(anchors) == images.tolist()
    assert all(len(numbers) == 8 and targets is None for numbers, targets in epoch)
    assert all((numbers[:4] != numbers[4:]).all() for numbers, _ in epoch)
    again = [numbers for numbers, _ in partner_batches(shares, images, 4)(np.random.default_rng(0))]
    np.testing.assert_array_equal(again, [numbers for numbers, _ in epoch])


@pytest.mark.parametrize(
    ("shares", "size", "message"),
    [
        (SHARES * 2, 2, "sum to 1"),
        (np.where(SHARES == 0.5, np.nan, SHARES), 2, "sum to 1"),
        (SHARES, 6, "5 images fill no batch of 6"),
        (SHARES[:3, :], 2, None),
        (np.eye(3), 2, "class 0 has votes on one image only"),
    ],
)
def test_soft_labels_that_make_no_pairs_are_refused(shares, size, message):
    if message is None:
        assert list(partner_batches(shares, np.arange(len(shares)), size)(np.random.default_rng(0)))
        return
    with pytest.raises(RecipeError, match=message):
        partner_batches(shares, np.arange(len(shares)), size)


def brute_force(draws: torch.Tensor, kappa: float, negatives: int, variant: Variant) -> float:
    """Loops over anchors, draws and negatives, from the published formulas."""
    pairs, total = draws.shape[1] // 2, 0.0
    for i in range(pairs):
        inner = 0.0
        for z in draws:
            like = math.exp(kappa * float(z[i] @ z[pairs + i]))
            unlike = [
                math.exp(kappa * float(z[i] @ z[pairs + (i + step) % pairs]))
                for step in range(1, negatives + 1)
            ]
            below = {
                "paper": like + sum(unlike) / negatives,
                "url": sum(unlike),
                "bud": (like + sum(unlike)) / (negatives + 1),
            }
            inner += like / below[variant]
        total -= math.log(inner / len(draws))
    return total / pairs


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loss_is_that_of_plain_loops(variant):
    generator = torch.Generator().manual_seed(0)
    mean = normalize(torch.randn(10, 4, dtype=torch.float64, generator=generator), dim=-1)
    kappa = 5 + 20 * torch.rand(10, dtype=torch.float64, generator=generator)
    loss = InBatchMCInfoNCE(16.0, samples=6, negatives=3, variant=variant)
    torch.manual_seed(7)
    value = loss(mean, kappa)
    torch.manual_seed(7)
    assert value.item() == pytest.approx(brute_force(sample(mean, kappa, 6), 16.0, 3, variant), rel=1e-9)


def test_the_loss_moves_directions_and_concentrations():
    mean = normalize(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), dim=-1).requires_grad_()
    kappa = torch.full((8,), 16.0, requires_grad=True)
    InBatchMCInfoNCE(16.0, samples=16, negatives=3)(mean, kappa).backward()
    for leaf in (mean, kappa):
        assert leaf.grad.isfinite().all()
        assert (leaf.grad != 0).any()


def test_more_negatives_than_a_batch_has_are_refused():
    with pytest.raises(ValueError, match="4 in-batch negatives"):
        InBatchMCInfoNCE(16.0, samples=1, negatives=4)(normalize(torch.randn(8, 3), dim=-1), torch.ones(8))
