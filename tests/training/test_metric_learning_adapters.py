from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning.losses import ContrastiveLoss, NTXentLoss, ProxyAnchorLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.reducers import SumReducer
from pytorch_metric_learning.trainers import MetricLossOnly
from torch.nn.functional import normalize
from torch.utils.data import TensorDataset

from hub_models.training.metric_learning_adapters import ProbabilityProductSimilarity, ProxyLossAdapter
from hub_models.training.proxy_losses import ProxyLoss, proxy_anchor
from hub_models.von_mises_fisher import log_expected_likelihood

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 1, 0])


@pytest.fixture
def embeddings() -> torch.Tensor:
    return 8 * torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


def test_proxy_anchor_equals_the_real_one(embeddings: torch.Tensor):
    torch.manual_seed(1)
    real = ProxyAnchorLoss(5, 6)
    cosine = normalize(embeddings, dim=-1) @ normalize(real.proxies, dim=-1).T
    torch.testing.assert_close(proxy_anchor(cosine, LABELS), real(embeddings, LABELS))


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_distance_keeps_norms_and_serves_losses_and_miners(embeddings: torch.Tensor, power: float):
    distance = ProbabilityProductSimilarity(power)
    matrix = distance(embeddings)
    assert matrix.shape == (8, 8)
    torch.testing.assert_close(
        distance.pairwise_distance(embeddings, embeddings.flip(0)), matrix.flip(1).diagonal()
    )
    assert not torch.allclose(distance(2 * embeddings), matrix)
    if power == 1.0:
        kappa, mean = embeddings.norm(dim=-1), normalize(embeddings, dim=-1)
        truth = log_expected_likelihood(kappa[:, None], kappa, mean @ mean.T, 6)
        torch.testing.assert_close(matrix, truth)
    pairs = MultiSimilarityMiner(distance=distance)(embeddings, LABELS)
    for loss in (NTXentLoss(distance=distance), ContrastiveLoss(1.0, 0.0, distance=distance)):
        leaf = embeddings.clone().requires_grad_()
        loss(leaf, LABELS, pairs).backward()
        assert leaf.grad.isfinite().all()


def test_distance_refuses_to_normalise():
    with pytest.raises(ValueError, match="normalize_embeddings"):
        ProbabilityProductSimilarity(normalize_embeddings=True)


@pytest.mark.parametrize("similarity", ["el_vmf", "kl", "nivmf"])
def test_adapter_gives_our_loss_and_obeys_reducers(embeddings: torch.Tensor, similarity: str):
    ours = ProxyLoss(3, 6, similarity, temperature=1.0, guidance_weight=0.5)
    torch.testing.assert_close(ProxyLossAdapter(ours)(embeddings, LABELS), ours(embeddings, LABELS))
    summed = ProxyLossAdapter(ours, reducer=SumReducer())(embeddings, LABELS)
    torch.testing.assert_close(summed, 8 * ours(embeddings, LABELS))
    assert len(list(ProxyLossAdapter(ours).parameters())) == 3


def test_adapter_refuses_what_proxies_have_no_use_for(embeddings: torch.Tensor):
    adapter = ProxyLossAdapter(ProxyLoss(3, 6))
    with pytest.raises(ValueError, match="labels"):
        adapter(embeddings)
    with pytest.raises(ValueError, match="ref_emb"):
        adapter(embeddings, LABELS, ref_emb=embeddings.clone(), ref_labels=LABELS)
    with pytest.raises(ValueError, match="indices_tuple"):
        adapter(embeddings, LABELS, MultiSimilarityMiner()(embeddings, LABELS))


def test_trains_inside_their_trainer():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 10, generator=generator)
    labels = torch.arange(60) % 3
    inputs = centres[labels] + 0.3 * torch.randn(60, 10, generator=generator)
    torch.manual_seed(0)
    trunk = torch.nn.Linear(10, 6)
    adapter = ProxyLossAdapter(ProxyLoss(3, 6, "el_nivmf", temperature=0.5, samples=4))
    before = adapter(trunk(inputs), labels).item()
    optimisers = {
        "trunk_optimizer": torch.optim.Adam(trunk.parameters(), lr=0.01),
        "metric_loss_optimizer": torch.optim.Adam(adapter.parameters(), lr=0.01),
    }
    trainer = MetricLossOnly(
        {"trunk": trunk},
        optimisers,
        20,
        {"metric_loss": adapter},
        TensorDataset(inputs, labels),
        data_device=torch.device("cpu"),
        dataloader_num_workers=0,
        freeze_these=(),
    )
    trainer.train(num_epochs=10)
    assert adapter(trunk(inputs), labels).item() < 0.5 * before
