"""Uncertainties that need no training, from logits and features of the frozen backbone. Higher = less certain."""

from __future__ import annotations

import torch
from torch import Tensor

from ..image_features import ImageFeatures


def baselines(features: ImageFeatures) -> dict[str, Tensor]:
    """Each baseline of a batch, (B,).

    ``entropy`` of the softmax in nats; ``max_probability``, 1 - the largest probability; ``energy``, the negative
    log-sum-exp of the logits; ``feature_norm``, the negative norm of the pre-logits. Only the last without a
    classifier.
    """
    scores = {"feature_norm": -features.pooled.norm(dim=1)}
    if features.logits is not None:
        log_probabilities = features.logits.log_softmax(dim=1)
        probabilities = log_probabilities.exp()
        scores = {
            "entropy": -(probabilities * log_probabilities).sum(dim=1),
            "max_probability": 1 - probabilities.amax(dim=1),
            "energy": -torch.logsumexp(features.logits, dim=1),
            **scores,
        }
    return scores
