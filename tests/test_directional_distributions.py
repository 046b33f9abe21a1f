from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, kl_divergence
from torch.nn.functional import normalize

from hub_models.directional_distributions import NonIsotropicVonMisesFisher, VonMisesFisher
from hub_models.errors import DistributionError
from hub_models.von_mises_fisher import log_density

torch_seed = 3


@pytest.fixture
def mean() -> torch.Tensor:
    generator = torch.Generator().manual_seed(torch_seed)
    return normalize(torch.randn(2, 3, 5, generator=generator, dtype=torch.float64), dim=-1)


def test_shapes_moments_and_gradients(mean: torch.Tensor):
    kappa = torch.tensor([1.0, 9.0, 200.0], dtype=torch.float64, requires_grad=True)
    distribution = VonMisesFisher(mean, kappa, validate_args=True)
    assert distribution.batch_shape == (2, 3)
    assert distribution.event_shape == (5,)
    assert distribution.sample().shape == (2, 3, 5)
    assert not distribution.sample().requires_grad
    torch.manual_seed(torch_seed)
    draws = distribution.rsample((50, 60))
    assert draws.shape == (50, 60, 2, 3, 5)
    error = (draws.mean(dim=(0, 1)) - distribution.mean).abs().max()
    assert error < 0.05
    assert distribution.log_prob(draws).shape == (50, 60, 2, 3)
    assert distribution.entropy().shape == (2, 3)
    (-distribution.log_prob(draws).mean() - distribution.entropy().mean()).backward()
    assert kappa.grad.isfinite().all()


def test_entropy_is_the_mean_log_prob(mean: torch.Tensor):
    distribution = VonMisesFisher(mean, torch.tensor(12.0, dtype=torch.float64))
    torch.manual_seed(torch_seed)
    surprise = -distribution.log_prob(distribution.sample((4000,)))
    assert ((surprise.mean(dim=0) - distribution.entropy()).abs() < 5 * surprise.std(dim=0) / 4000**0.5).all()


def test_divergence_is_the_mean_log_ratio(mean: torch.Tensor):
    p = VonMisesFisher(mean, torch.tensor(12.0, dtype=torch.float64))
    q = VonMisesFisher(mean.flip(-1), torch.tensor(4.0, dtype=torch.float64))
    torch.manual_seed(torch_seed)
    draws = p.sample((4000,))
    ratio = p.log_prob(draws) - q.log_prob(draws)
    assert ((ratio.mean(dim=0) - kl_divergence(p, q)).abs() < 5 * ratio.std(dim=0) / 4000**0.5).all()


def test_expansion_and_independence(mean: torch.Tensor):
    single = VonMisesFisher(mean[0, 0], torch.tensor(3.0, dtype=torch.float64))
    assert single.batch_shape == ()
    assert single.rsample().shape == (5,)
    assert single.expand((4, 2)).sample((3,)).shape == (3, 4, 2, 5)
    joint = Independent(VonMisesFisher(mean, torch.tensor(3.0, dtype=torch.float64)), 1)
    assert joint.log_prob(mean).shape == (2,)


def test_non_isotropic_class_equals_the_isotropic_one_for_equal_scales(mean: torch.Tensor):
    wide = NonIsotropicVonMisesFisher(mean, torch.full((5,), 7.0, dtype=torch.float64), validate_args=True)
    narrow = VonMisesFisher(mean, torch.tensor(7.0, dtype=torch.float64))
    value = mean.flip(0)
    torch.testing.assert_close(wide.log_prob(value), narrow.log_prob(value))
    torch.testing.assert_close(wide.mode, narrow.mode)
    assert wide.rsample((4,)).shape == (4, 2, 3, 5)
    assert wide.expand((7, 2, 3)).batch_shape == (7, 2, 3)
    assert NonIsotropicVonMisesFisher(mean, wide.scale, "reference").mode is not None


def test_log_prob_keeps_its_digits_in_float32_at_high_concentration():
    """Near the mean 1 - cosine is far below the resolution of a float32 cosine."""
    generator = torch.Generator().manual_seed(0)
    mean = normalize(torch.randn(64, generator=generator, dtype=torch.float64), dim=-1)
    value = normalize(mean + 1e-3 * torch.randn(64, generator=generator, dtype=torch.float64), dim=-1)
    kappa = torch.tensor(1e6, dtype=torch.float64)
    exact = log_density((mean * value).sum(), kappa, 64)
    single = VonMisesFisher(mean.float(), kappa.float()).log_prob(value.float())
    assert abs(single.item() - exact.item()) < 1e-2


def test_bad_input(mean: torch.Tensor):
    with pytest.raises(ValueError, match="mean_direction"):
        VonMisesFisher(2 * mean, torch.ones(()), validate_args=True)
    with pytest.raises(ValueError, match="concentration"):
        VonMisesFisher(mean, -torch.ones(()), validate_args=True)
    with pytest.raises(DistributionError, match="concentration"):
        VonMisesFisher(mean, torch.tensor(float("inf")), validate_args=False).sample()
    with pytest.raises(DistributionError, match="2 dimensions"):
        VonMisesFisher(torch.ones(3, 1), torch.ones(3))
    with pytest.raises(ValueError, match="support"):
        VonMisesFisher(mean, torch.ones(()), validate_args=True).log_prob(3 * mean)
