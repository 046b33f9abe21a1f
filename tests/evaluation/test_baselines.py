from __future__ import annotations

import numpy as np
import torch
from scipy.special import logsumexp, softmax
from scipy.stats import entropy

from hub_models.evaluation.baselines import baselines
from hub_models.image_features import ImageFeatures


def test_baselines_equal_scipy() -> None:
    torch.manual_seed(0)
    features = ImageFeatures(torch.randn(6, 4), torch.randn(6, 2), 3 * torch.randn(6, 5))
    scores = {name: value.numpy() for name, value in baselines(features).items()}
    probabilities = softmax(features.logits.numpy().astype(np.float64), axis=1)
    np.testing.assert_allclose(scores["entropy"], entropy(probabilities, axis=1), rtol=1e-4)
    np.testing.assert_allclose(scores["max_probability"], 1 - probabilities.max(axis=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scores["energy"], -logsumexp(features.logits.numpy(), axis=1), rtol=1e-5)
    np.testing.assert_allclose(scores["feature_norm"], -np.linalg.norm(features.pooled, axis=1), rtol=1e-5)


def test_without_a_classifier_only_the_norm_is_left() -> None:
    assert list(baselines(ImageFeatures(torch.ones(2, 3), torch.ones(2, 2), None))) == ["feature_norm"]


def test_saturated_logits_give_no_nan() -> None:
    logits = torch.tensor([[1000.0, 0.0, -1000.0]])
    scores = baselines(ImageFeatures(torch.ones(1, 3), torch.ones(1, 2), logits))
    assert scores["entropy"].item() == 0
    assert all(torch.isfinite(value).all() for value in scores.values())
