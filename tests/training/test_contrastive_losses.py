from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hub_models.errors import DistributionError
from hub_models.training.contrastive_losses import (
    VARIANTS,
    ExpectedLikelihood,
    HedgedInstance,
    MCInfoNCE,
    expected_likelihood_loss,
    hedged_instance_loss,
    mc_infonce,
    rolled,
)
from hub_models.von_mises_fisher import log_expected_likelihood, sample

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 1e-2, torch.bfloat16: 1e-1}


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def similarities(
    dtype: torch.dtype, samples: int = 5, batch: int = 4, others: int = 3
) -> tuple[Tensor, Tensor]:
    positive = 4 * torch.randn(samples, batch, generator=seeded(1), dtype=torch.float64)
    negative = 4 * torch.randn(samples, batch, others, generator=seeded(2), dtype=torch.float64)
    return positive.to(dtype), negative.to(dtype)


def mc_infonce_by_hand(positive: list, negative: list, variant: str) -> float:
    samples, batch, total = len(positive), len(positive[0]), 0.0
    for i in range(batch):
        mean = 0.0
        for s in range(samples):
            p, n = math.exp(positive[s][i]), [math.exp(x) for x in negative[s][i]]
            share = {
                "paper": p / (p + sum(n) / len(n)),
                "url": p / sum(n),
                "bud": p / ((p + sum(n)) / (len(n) + 1)),
            }[variant]
            mean += share / samples
        total -= math.log(mean) / batch
    return total


def hib_by_hand(positive: list, negative: list) -> float:
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    samples, batch, others = len(positive), len(positive[0]), len(negative[0][0])
    match = mismatch = 0.0
    for i in range(batch):
        match -= math.log(sum(sigmoid(positive[s][i]) for s in range(samples)) / samples) / batch
        for m in range(others):
            p = sum(sigmoid(negative[s][i][m]) for s in range(samples)) / samples
            mismatch -= math.log(1 - p) / (batch * others)
    return match + mismatch


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("samples", "batch", "others"), [(5, 4, 3), (1, 1, 1), (2, 1, 5)])
def test_mc_infonce_equals_loops(variant: str, dtype: torch.dtype, samples: int, batch: int, others: int):
    positive, negative = similarities(dtype, samples, batch, others)
    truth = mc_infonce_by_hand(positive.tolist(), negative.tolist(), variant)
    assert mc_infonce(positive, negative, variant).item() == pytest.approx(truth, abs=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_hib_equals_loops(dtype: torch.dtype):
    positive, negative = similarities(dtype)
    truth = hib_by_hand(positive.tolist(), negative.tolist())
    assert hedged_instance_loss(positive, negative).item() == pytest.approx(truth, abs=TOLERANCE[dtype])


def test_elk_equals_loops():
    positive, negative = similarities(torch.float64)
    like, unlike = positive[0], negative[0]
    truth = 0.0
    for i in range(4):
        total = math.exp(like[i]) + sum(math.exp(x) for x in unlike[i])
        truth -= math.log(math.exp(like[i]) / total) / 4
    assert expected_likelihood_loss(like, unlike).item() == pytest.approx(truth)


@pytest.mark.parametrize("loss", [*VARIANTS, "hib"])
def test_gradients_and_extreme_logits(loss: str):
    def value(positive: Tensor, negative: Tensor) -> Tensor:
        if loss == "hib":
            return hedged_instance_loss(positive, negative)
        return mc_infonce(positive, negative, loss)

    assert torch.autograd.gradcheck(value, tuple(x.requires_grad_() for x in similarities(torch.float64)))
    for size in (1e3, 1e6):
        positive = torch.tensor([[size, -size], [size, -size]], requires_grad=True)
        negative = torch.tensor([[[size], [size]], [[-size], [size]]], requires_grad=True)
        value(positive, negative).backward()
        assert positive.grad.isfinite().all()
        assert negative.grad.isfinite().all()


def posteriors(batch: int, dim: int, count: int) -> list[tuple[Tensor, Tensor]]:
    pairs = []
    for number, shape in enumerate([(batch,), (batch,), (batch, count)]):
        mean = normalize(torch.randn(*shape, dim, generator=seeded(70 + number), dtype=torch.float64), dim=-1)
        kappa = 16 + 16 * torch.rand(*shape, generator=seeded(80 + number), dtype=torch.float64)
        pairs.append((mean.requires_grad_(), kappa.requires_grad_()))
    return pairs


@pytest.mark.parametrize("dim", [2, 10])
def test_modules_draw_and_call_the_functions(dim: int):
    anchor, positive, negative = posteriors(6, dim, 3)
    generator = seeded(5)
    z, like, unlike = (sample(*pair, 7, generator) for pair in (anchor, positive, negative))
    similar = torch.einsum("sbd,sbd->sb", z, like)
    dissimilar = torch.einsum("sbd,sbmd->sbm", z, unlike)
    for variant in VARIANTS:
        module = MCInfoNCE(20.0, samples=7, variant=variant).double()
        value = module(anchor, positive, negative, seeded(5))
        torch.testing.assert_close(
            value, mc_infonce(20 * similar, 20 * dissimilar, variant), rtol=1e-6, atol=1e-6
        )
    hedged = HedgedInstance(samples=7, scale=3.0, offset=-1.0).double()
    truth = hedged_instance_loss(3 * similar - 1, 3 * dissimilar - 1)
    torch.testing.assert_close(hedged(anchor, positive, negative, seeded(5)), truth)
    like = log_expected_likelihood(anchor[1], positive[1], (anchor[0] * positive[0]).sum(-1), dim)
    cosine = torch.einsum("bd,bmd->bm", anchor[0], negative[0])
    unlike = log_expected_likelihood(anchor[1].unsqueeze(1), negative[1], cosine, dim)
    value = ExpectedLikelihood()(anchor, positive, negative)
    torch.testing.assert_close(value, expected_likelihood_loss(like, unlike))


def test_every_parameter_gets_a_gradient():
    pairs = posteriors(5, 4, 2)
    for module in (MCInfoNCE(20.0, learn_concentration=True), HedgedInstance(), ExpectedLikelihood()):
        for tensor in [x for pair in pairs for x in pair]:
            tensor.grad = None
        module(*pairs).backward()
        for tensor in [*module.parameters(), *(x for pair in pairs for x in pair)]:
            assert tensor.grad is not None
            assert tensor.grad.isfinite().all()
            assert tensor.grad.abs().max() > 0
    assert not next(MCInfoNCE(20.0).parameters()).requires_grad


def test_a_gradient_step_on_kappa_moves_it_towards_the_truth():
    """Posteriors far too sure, whose loss a smaller concentration must lower, and the other way round."""
    mean = normalize(torch.randn(200, 2, generator=seeded(1), dtype=torch.float64), dim=-1)
    other = sample(mean, torch.full((200,), 10.0, dtype=torch.float64), 1, seeded(2))[0]
    for start, sign in ((500.0, 1), (0.5, -1)):
        kappa = torch.full((200,), start, dtype=torch.float64, requires_grad=True)
        pairs = ((mean, kappa), (other, kappa), tuple(rolled(x, 5, 0) for x in (other, kappa)))
        MCInfoNCE(20.0, samples=64)(*pairs, seeded(3)).backward()
        assert sign * kappa.grad.mean() > 0


def test_rolled_never_gives_an_item_itself():
    items = torch.arange(5)
    negatives = rolled(items, 4, 0)
    assert negatives.shape == (5, 4)
    for i in range(5):
        assert sorted([i, *negatives[i].tolist()]) == [0, 1, 2, 3, 4]
    assert rolled(torch.zeros(3, 5, 7), 2, 1).shape == (3, 5, 2, 7)
    for count in (0, 5):
        with pytest.raises(ValueError, match="in-batch negatives"):
            rolled(items, count, 0)


def test_identical_embeddings_have_the_loss_of_chance():
    mean = normalize(torch.ones(4, 8), dim=-1)
    pair = (mean, torch.full((4,), 1e6))
    loss = MCInfoNCE(20.0, samples=1)(pair, pair, tuple(rolled(x, 3, 0) for x in pair))
    assert loss.item() == pytest.approx(math.log(2), abs=1e-2)


def test_bad_input():
    anchor, positive, negative = posteriors(3, 4, 2)
    with pytest.raises(ValueError, match="variant 'none'"):
        mc_infonce(*similarities(torch.float32), variant="none")
    with pytest.raises(DistributionError, match="points nowhere"):
        MCInfoNCE(20.0)((torch.zeros(3, 4), torch.ones(3)), positive, negative)
    with pytest.raises(DistributionError, match="concentration"):
        ExpectedLikelihood()((anchor[0], -anchor[1]), positive, negative)
