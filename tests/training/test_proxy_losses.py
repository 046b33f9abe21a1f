from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hub_models.errors import DistributionError
from hub_models.non_isotropic_vmf import log_density
from hub_models.training.proxy_losses import ProxyLoss, proxy_anchor
from hub_models.von_mises_fisher import log_normalizer, mean_resultant_length, sample

SIMILARITIES = ["el_nivmf", "nivmf", "el_vmf", "b_vmf", "kl", "l2", "cosine"]
BATCH, CLASSES, DIM = 6, 4, 5


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    embeddings = 6 * torch.randn(BATCH, DIM, generator=seeded(11), dtype=torch.float64)
    return embeddings.to(dtype), torch.tensor([0, 1, 2, 3, 1, 1])


def make(similarity: str, **options) -> ProxyLoss:
    torch.manual_seed(4)
    loss = ProxyLoss(CLASSES, DIM, similarity, **{"temperature": 0.5, "samples": 3, **options}).double()
    with torch.no_grad():
        loss.concentrations.mul_(0.5 + torch.rand(loss.concentrations.shape, generator=seeded(5)))
    return loss


def similarity_by_hand(loss: ProxyLoss, x: Tensor, draws: Tensor, c: int, placement: str) -> Tensor:
    """s(x, c) with its temperature for one image and one class, straight from the definitions."""
    kappa_x, mu_x, mu_c = x.norm(), x / x.norm(), loss.proxy_directions()[c]
    k = loss.proxy_concentrations()[c]
    temperature = loss.log_temperature.exp()
    cosine = mu_x @ mu_c
    if loss.similarity == "el_nivmf":
        logs = torch.stack([log_density(z, mu_c, k) for z in draws])
        if placement == "inside":
            return (logs / temperature).exp().mean().log()
        return logs.exp().mean().log() / temperature
    if loss.similarity == "nivmf":
        return log_density(mu_x, mu_c, k) / temperature

    def log_c(kappa: Tensor) -> Tensor:
        return log_normalizer(kappa, DIM)

    joint = (kappa_x * mu_x + k * mu_c).norm()
    value = {
        "el_vmf": lambda: log_c(kappa_x) + log_c(k) - log_c(joint),
        "b_vmf": lambda: (log_c(kappa_x) + log_c(k)) / 2 - log_c(joint / 2),
        "kl": lambda: (
            -(log_c(kappa_x) - log_c(k) + mean_resultant_length(kappa_x, DIM) * (kappa_x - k * cosine))
        ),
        "l2": lambda: -(kappa_x * mu_x - k * mu_c).square().sum(),
        "cosine": lambda: cosine,
    }[loss.similarity]()
    return value / temperature


@pytest.mark.parametrize("placement", ["inside", "outside"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_equals_a_double_loop(similarity: str, placement: str, dtype: torch.dtype):
    loss = make(similarity, temperature_placement=placement).to(dtype)
    embeddings, labels = batch(dtype)
    draws = sample(normalize(embeddings, dim=-1), embeddings.norm(dim=-1), 3, seeded(9))
    total = 0.0
    for i in range(BATCH):
        row = [
            similarity_by_hand(loss, embeddings[i], draws[:, i], c, placement).item() for c in range(CLASSES)
        ]
        highest = max(row)
        total += highest + math.log(sum(math.exp(s - highest) for s in row)) - row[labels[i]]
    expected = pytest.approx(total / BATCH, rel=1e-3 if dtype == torch.float32 else 1e-6)
    assert loss(embeddings, labels, seeded(9)).item() == expected


def test_drawn_expected_likelihood_agrees_with_the_closed_form():
    """K = c I and T = 1: the Monte Carlo EL-nivMF estimates the analytic EL-vMF."""
    drawn = ProxyLoss(CLASSES, DIM, "el_nivmf", temperature=1.0, samples=20000, concentration=3.0).double()
    exact = ProxyLoss(CLASSES, DIM, "el_vmf", temperature=1.0, concentration=3.0).double()
    with torch.no_grad():
        exact.directions.copy_(drawn.directions)
    embeddings = batch()[0]
    with torch.no_grad():
        torch.testing.assert_close(
            drawn.logits(embeddings, seeded(1)), exact.logits(embeddings), rtol=0, atol=0.03
        )


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_gradients(similarity: str):
    loss = make(similarity, guidance_weight=0.3)
    embeddings, labels = batch()
    embeddings.requires_grad_()
    loss(embeddings, labels, seeded(9)).backward()
    assert embeddings.grad.isfinite().all()
    assert embeddings.grad.abs().sum() > 0
    for name, parameter in loss.named_parameters():
        used = similarity != "cosine" or name != "concentrations"
        assert (parameter.grad is not None and parameter.grad.abs().sum() > 0) == used, name
    if similarity != "el_nivmf":  # whose draws change with what is differentiated
        assert torch.autograd.gradcheck(lambda e: loss(e, labels), embeddings)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_half_precision_embeddings(similarity: str, dtype: torch.dtype):
    loss = make(similarity).float()
    embeddings, labels = batch(dtype)
    embeddings.requires_grad_()
    value = loss(embeddings, labels, seeded(9))
    value.backward()
    assert value.dtype == torch.float32
    single = loss(embeddings.detach().float(), labels, seeded(9))
    torch.testing.assert_close(value, single)
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_batches_of_one_identical_embeddings_and_extreme_norms(similarity: str):
    loss = make(similarity, samples=1, guidance_weight=1.0)
    for embeddings in (
        torch.ones(1, DIM, dtype=torch.float64),
        torch.ones(4, DIM, dtype=torch.float64),
        torch.tensor([1e-4, 1.0, 1e3, 1e5], dtype=torch.float64).unsqueeze(1) * torch.ones(DIM),
    ):
        embeddings = embeddings.clone().requires_grad_()
        value = loss(embeddings, torch.zeros(len(embeddings), dtype=torch.long))
        value.backward()
        assert value.isfinite()
        assert embeddings.grad.isfinite().all()


def test_nothing_normalises_the_embedding():
    embeddings, _ = batch()
    for similarity in ("el_vmf", "b_vmf", "kl", "l2"):
        loss = make(similarity)
        assert not torch.allclose(loss.logits(embeddings), loss.logits(3 * embeddings))


def proxy_anchor_by_hand(cosine: Tensor, labels: Tensor) -> float:
    pull, push, present = 0.0, 0.0, set(labels.tolist())
    for c in range(cosine.shape[1]):
        own = [cosine[i, c].item() for i in range(len(labels)) if labels[i] == c]
        rest = [cosine[i, c].item() for i in range(len(labels)) if labels[i] != c]
        if own:
            pull += math.log1p(sum(math.exp(-32 * (x - 0.1)) for x in own)) / len(present)
        push += math.log1p(sum(math.exp(32 * (x + 0.1)) for x in rest)) / cosine.shape[1]
    return pull + push


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 1, 1], [2, 2, 2, 2, 2, 2]])
def test_proxy_anchor_equals_a_double_loop(labels: list[int]):
    cosine = torch.rand(BATCH, CLASSES, generator=seeded(), dtype=torch.float64) * 2 - 1
    truth = proxy_anchor_by_hand(cosine, torch.tensor(labels))
    assert proxy_anchor(cosine, torch.tensor(labels)).item() == pytest.approx(truth)


def test_guidance_is_added():
    embeddings, labels = batch()
    loss = make("el_vmf")
    plain = loss(embeddings, labels)
    loss.guidance_weight = 0.7
    guide = proxy_anchor(normalize(embeddings, dim=-1) @ loss.proxy_directions().T, labels)
    torch.testing.assert_close(loss(embeddings, labels), plain + 0.7 * guide)


def test_warm_start_takes_class_means_and_leaves_absent_classes():
    loss = make("el_nivmf")
    before = loss.proxy_directions().detach().clone()
    embeddings, _ = batch()
    labels = torch.tensor([0, 0, 1, 1, 1, 3])  # 3 has one image, 2 none
    loss.warm_start(embeddings, labels)
    unit = normalize(embeddings, dim=-1)
    after = loss.proxy_directions()
    for c, members in ((0, [0, 1]), (1, [2, 3, 4]), (3, [5])):
        torch.testing.assert_close(after[c], normalize(unit[members].sum(dim=0), dim=0))
    torch.testing.assert_close(after[2], before[2])


def test_training_lowers_the_loss_and_a_copy_gives_the_same():
    loss = make("el_nivmf", samples=8, guidance_weight=0.1)
    embeddings, labels = batch()
    embeddings = torch.nn.Parameter(embeddings)
    optimiser = torch.optim.Adam([embeddings, *loss.parameters()], lr=0.05)
    first = loss(embeddings, labels, seeded(0)).item()
    for step in range(60):
        optimiser.zero_grad()
        loss(embeddings, labels, seeded(step)).backward()
        optimiser.step()
    assert loss(embeddings, labels, seeded(0)).item() < 0.5 * first
    copy = make("el_nivmf", samples=8, guidance_weight=0.1)
    copy.load_state_dict(loss.state_dict())
    assert copy(embeddings, labels, seeded(0)) == loss(embeddings, labels, seeded(0))


def test_concentrations_are_kept_above_their_least():
    loss = make("nivmf")
    with torch.no_grad():
        loss.concentrations.fill_(-3.0)
    assert (loss.proxy_concentrations() == 0.1).all()


def test_bad_input():
    embeddings, labels = batch()
    for options, match in (
        ({"similarity": "none"}, "similarity 'none'"),
        ({"similarity": "kl", "temperature_placement": "above"}, "temperature_placement"),
        ({"similarity": "kl", "temperature": 0.0}, "above 0"),
        ({"similarity": "kl", "samples": 0}, "above 0"),
        ({"similarity": "kl", "concentration": -1.0}, "above 0"),
    ):
        with pytest.raises(ValueError, match=match):
            ProxyLoss(CLASSES, DIM, **options)
    for similarity in SIMILARITIES:
        broken = embeddings.clone()
        broken[2] = 0
        with pytest.raises(DistributionError, match="zero or not finite"):
            make(similarity)(broken, labels)
        broken[2] = float("nan")
        with pytest.raises(DistributionError, match="zero or not finite"):
            make(similarity)(broken, labels)
    with pytest.raises(ValueError, match="as many labels"):
        make("kl")(embeddings, labels[:2])
