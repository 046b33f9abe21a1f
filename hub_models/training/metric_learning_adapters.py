"""Our probabilistic losses inside pytorch-metric-learning's trainers, miners and reducers.

Needs that package. Its distances normalise embeddings unless told not to, which would erase the concentrations:
the distance here does not, and refuses to.
"""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.distances import BaseDistance
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.utils import common_functions
from torch import Tensor

from ..von_mises_fisher import log_probability_product
from .proxy_losses import ProxyLoss, split_embedding


class ProbabilityProductSimilarity(BaseDistance):
    """log of the probability product of two embeddings, for losses that take ``distance=``; higher is closer.

    Args:
        power: 1 for the expected likelihood, 1/2 for the Bhattacharyya coefficient.
        kwargs: of the package's BaseDistance; ``normalize_embeddings`` must stay False.
    """

    def __init__(self, power: float = 1.0, **kwargs: Any) -> None:
        if kwargs.pop("normalize_embeddings", False):
            raise ValueError("normalize_embeddings must be False: an embedding's norm is its concentration")
        super().__init__(normalize_embeddings=False, is_inverted=True, **kwargs)
        self.product_power = power

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        """(Q, D) and (R, D) -> (Q, R)."""
        (mean, kappa), (ref_mean, ref_kappa) = split_embedding(query_emb), split_embedding(ref_emb)
        cosine = mean @ ref_mean.mT
        return log_probability_product(
            kappa.unsqueeze(-1), ref_kappa, cosine, mean.shape[-1], self.product_power
        )

    def pairwise_distance(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        """(N, D) and (N, D) -> (N,)."""
        (mean, kappa), (ref_mean, ref_kappa) = split_embedding(query_emb), split_embedding(ref_emb)
        cosine = (mean * ref_mean).sum(dim=-1)
        return log_probability_product(kappa, ref_kappa, cosine, mean.shape[-1], self.product_power)


class ProxyLossAdapter(BaseMetricLossFunction):
    """A `ProxyLoss` as a loss of the package: its reducers, regularisers and trainers apply.

    Args:
        loss: ours, whose parameters become this module's.
        kwargs: of the package's BaseMetricLossFunction.
    """

    def __init__(self, loss: ProxyLoss, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.proxy_loss = loss

    def compute_loss(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any,
        ref_emb: Tensor | None,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        """One loss an item; mined pairs and reference embeddings have no meaning for proxies and are refused."""
        common_functions.labels_required(labels)
        common_functions.ref_not_supported(embeddings, labels, ref_emb, ref_labels)
        common_functions.indices_tuple_not_supported(indices_tuple)
        losses = self.proxy_loss.per_item(embeddings, labels)
        indices = torch.arange(len(losses), device=losses.device)
        return {"loss": {"losses": losses, "indices": indices, "reduction_type": "element"}}
