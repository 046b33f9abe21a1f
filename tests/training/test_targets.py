from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hub_models.configuration_image_uncertainty import ImageUncertaintyConfig
from hub_models.errors import RecipeError
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel
from hub_models.training import targets
from hub_models.training.feature_cache import FeatureCache
from hub_models.training.targets import combine, instance_loss, make_targets, require_labels
from hub_models.training.views import Views

CLASSES = 5
IMAGES, VIEWS = 11, 3
CHOSEN = np.array([0, 2, 3, 4, 6, 7, 9, 10])


@pytest.fixture(scope="module")
def model() -> ImageUncertaintyModel:
    torch.manual_seed(0)
    config = ImageUncertaintyConfig(backbone="test_efficientnet", num_classes=CLASSES)
    return ImageUncertaintyModel(config).eval()


@pytest.fixture
def cache(model: ImageUncertaintyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureCache:
    """Random features, read in chunks that do not divide the number of images."""
    monkeypatch.setattr(targets, "CHUNK", 3)
    width = model.backbone.num_features
    pooled = np.random.default_rng(0).standard_normal((IMAGES, VIEWS, width)).astype(np.float32)
    pooled.flags.writeable = False
    stages = np.zeros((IMAGES, VIEWS, 1), np.float32)
    return FeatureCache(pooled, stages, np.ones(IMAGES, bool), {}, Views(crops=VIEWS - 1), tmp_path)


def softmax_loss(scores: np.ndarray, right: int) -> float:
    scores = scores.astype(np.float64)
    return float(np.log(np.exp(scores).sum()) - scores[right])


def test_task_targets_are_those_of_the_classifier(model: ImageUncertaintyModel, cache: FeatureCache):
    labels = [i % CLASSES for i in range(IMAGES)]
    made = make_targets({"cross_entropy", "mistake"}, model, cache, CHOSEN, labels, seed=0)
    assert set(made) == {"cross_entropy", "mistake"}
    weight, bias = (p.detach().numpy() for p in model.backbone.get_classifier().parameters())
    for row, image in enumerate(CHOSEN):
        for view in range(VIEWS):
            logits = weight @ cache.pooled[image, view] + bias
            loss = softmax_loss(logits, labels[image])
            assert made["cross_entropy"][row, view] == pytest.approx(loss, abs=1e-4)
            assert made["mistake"][row, view] == (logits.argmax() != labels[image])


@pytest.mark.parametrize("candidates", [3, 100])
def test_instance_loss_is_the_cross_entropy_of_finding_the_source(
    cache: FeatureCache, candidates: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(targets, "MAX_CANDIDATES", candidates)
    losses = instance_loss(cache, CHOSEN, seed=4)
    unit = cache.pooled / np.linalg.norm(cache.pooled, axis=2, keepdims=True)
    among = np.random.default_rng(4).permutation(len(CHOSEN))[:candidates]
    for row, image in enumerate(CHOSEN):
        others = [CHOSEN[other] for other in among if other != row]
        for view in range(VIEWS):
            scores = np.array([30 * unit[image, view] @ unit[other, 0] for other in [image, *others]])
            assert losses[row, view] == pytest.approx(softmax_loss(scores, 0), abs=1e-4)


def test_instance_loss_needs_no_labels(model: ImageUncertaintyModel, cache: FeatureCache):
    made = make_targets({"instance"}, model, cache, CHOSEN, labels=None, seed=4)
    np.testing.assert_array_equal(made["instance"], instance_loss(cache, CHOSEN, seed=4))


def test_a_lone_image_is_found_for_certain(cache: FeatureCache):
    np.testing.assert_allclose(instance_loss(cache, np.array([5]), seed=0), 0, atol=1e-5)


def ranks_by_hand(values: np.ndarray) -> np.ndarray:
    """Share of the other values that are smaller, an equal one counting half."""
    flat = values.reshape(-1)
    below = [(flat < v).sum() + ((flat == v).sum() - 1) / 2 for v in flat]
    return (np.array(below) / (len(flat) - 1)).reshape(values.shape)


VALUES = arrays(np.float32, (4, 3), elements=st.integers(0, 5).map(float))


@given(left=VALUES, right=VALUES, weight=st.floats(0.1, 10))
def test_several_targets_are_combined_by_rank(left: np.ndarray, right: np.ndarray, weight: float):
    combined = combine({"a": left, "b": right}, {"a": weight, "b": 1.0})
    expected = (weight * ranks_by_hand(left) + ranks_by_hand(right)) / (weight + 1)
    np.testing.assert_allclose(combined, expected, atol=1e-5)
    assert combined.min() >= 0
    assert combined.max() <= 1 + 1e-6


def test_equal_values_get_equal_ranks_wherever_they_stand():
    mistakes = np.array([[0, 1], [0, 0], [1, 0]], np.float32)
    combined = combine({"a": mistakes, "b": mistakes}, {"a": 1.0, "b": 1.0})
    assert len(set(combined[mistakes == 0].tolist())) == 1
    assert combined[mistakes == 1].min() > combined[mistakes == 0].max()


def test_a_single_target_is_taken_as_it_is():
    values = np.array([[3.0, 1.0]], np.float32)
    assert combine({"a": values, "b": -values}, {"a": 0.5}) is values


@pytest.mark.parametrize("labels", [[0, 1, CLASSES], [0, -1]])
def test_labels_outside_the_classifier_are_refused(labels: list[int]):
    with pytest.raises(RecipeError, match=rf"labels run from .* but the classifier has {CLASSES} classes"):
        require_labels(labels, CLASSES)


def test_a_backbone_without_classifier_has_no_task_loss():
    with pytest.raises(RecipeError, match=r"the classifier has 0 classes; .*instance"):
        require_labels([0, 1], 0)


def test_missing_labels_are_named():
    with pytest.raises(RecipeError, match="needs labels, but the images have none"):
        require_labels(None, CLASSES)


def test_labels_that_fit_are_passed_on():
    assert require_labels([0, CLASSES - 1], CLASSES) == [0, CLASSES - 1]
