from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hub_models.errors import DistributionError
from hub_models.training.pair_similarities import pair_similarities
from hub_models.von_mises_fisher import mean_resultant_length


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def posteriors(dim: int, batch: int = 3, others: int = 2) -> list[tuple[Tensor, Tensor]]:
    shapes = [(batch,), (batch,), (batch, others)]
    draws = [torch.randn(*shape, dim, generator=seeded(i)) for i, shape in enumerate(shapes)]
    kappas = [20 + 10 * torch.rand(shape, generator=seeded(9 + i)) for i, shape in enumerate(shapes)]
    return [(normalize(mean, dim=-1), kappa) for mean, kappa in zip(draws, kappas, strict=True)]


@pytest.mark.parametrize("dim", [2, 3])
def test_the_expected_cosine_is_a_product_of_mean_lengths(dim: int):
    """E[z'z'] = A(k) A(k') mu'mu' for independent draws."""
    anchor, positive, negative = posteriors(dim)
    similar, dissimilar = pair_similarities(anchor, positive, negative, 20000, seeded())
    assert similar.shape == (20000, 3)
    assert dissimilar.shape == (20000, 3, 2)
    a, p, n = (mean_resultant_length(kappa, dim) for _, kappa in (anchor, positive, negative))
    like = a * p * (anchor[0] * positive[0]).sum(-1)
    unlike = a[:, None] * n * (anchor[0][:, None] * negative[0]).sum(-1)
    torch.testing.assert_close(similar.mean(0), like, atol=0.01, rtol=0)
    torch.testing.assert_close(dissimilar.mean(0), unlike, atol=0.01, rtol=0)


@pytest.mark.parametrize("dim", [2, 3])
def test_gradients_reach_directions_and_concentrations(dim: int):
    pairs = posteriors(dim)
    parameters = [tensor.requires_grad_() for pair in pairs for tensor in pair]
    similar, dissimilar = pair_similarities(*pairs, 4, seeded())
    (similar.sum() + dissimilar.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in parameters)


def test_the_direction_gradient_on_the_circle_is_that_of_the_closed_form():
    pairs = posteriors(2)
    angle = torch.zeros((), requires_grad=True)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    similar, _ = pair_similarities((pairs[0][0] @ turn.T, pairs[0][1]), *pairs[1:], 20000, seeded())
    similar.mean(0).sum().backward()
    length = mean_resultant_length(pairs[0][1], 2) * mean_resultant_length(pairs[1][1], 2)
    (x, y), (u, v) = pairs[0][0].T, pairs[1][0].T
    assert angle.grad.item() == pytest.approx((length * (x * v - y * u)).sum().item(), abs=0.03)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("kappa", [-1.0, float("inf"), float("nan")])
def test_impossible_concentrations_are_refused(dim: int, kappa: float):
    anchor, positive, negative = posteriors(dim)
    anchor[1][0] = kappa
    with pytest.raises(DistributionError, match="concentration must be finite and at least 0"):
        pair_similarities(anchor, positive, negative, 2)


@pytest.mark.parametrize("dim", [2, 3])
def test_zero_vectors_are_refused(dim: int):
    anchor, positive, negative = posteriors(dim)
    anchor[0][1] = 0
    with pytest.raises(DistributionError, match="zero vector"):
        pair_similarities(anchor, positive, negative, 2)


def test_concentration_zero_is_uniform():
    anchor, positive, negative = posteriors(2)
    similar, _ = pair_similarities((anchor[0], torch.zeros(3)), positive, negative, 5000, seeded())
    assert similar.mean().abs() < 0.02


def test_one_dimension_and_no_samples_are_refused():
    anchor, positive, negative = posteriors(2)
    with pytest.raises(DistributionError, match="at least 2 dimensions"):
        pair_similarities(*[(mean[..., :1], kappa) for mean, kappa in (anchor, positive, negative)], 2)
    with pytest.raises(DistributionError, match="at least 1, not 0"):
        pair_similarities(anchor, positive, negative, 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_as_float32(dtype: torch.dtype):
    pairs = [(mean.to(dtype), kappa.to(dtype)) for mean, kappa in posteriors(2)]
    similar, dissimilar = pair_similarities(*pairs, 1, seeded())
    assert similar.dtype == dissimilar.dtype == torch.float32
    assert similar.isfinite().all()
