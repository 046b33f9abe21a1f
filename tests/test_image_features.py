from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn

from hub_models.errors import BackboneError
from hub_models.image_features import (
    MAX_STAGES,
    TOP_CLASSES,
    ImageFeatures,
    choose_stages,
    class_statistics,
    class_statistics_width,
    classify,
    extract_features,
    select_inputs,
    stage_width,
)

CLASSES = 7


def backbone(name: str, **kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, num_classes=CLASSES, **kwargs).eval()


@torch.no_grad()
def features_of(model: nn.Module, pixels: Tensor) -> ImageFeatures:
    return extract_features(model, pixels, choose_stages(model, None), CLASSES)


@torch.no_grad()
def test_pooled_is_what_the_classifier_sees_and_logits_are_timms() -> None:
    model, pixels = backbone("resnet10t"), torch.randn(3, 3, 64, 64)
    features = features_of(model, pixels)
    torch.testing.assert_close(features.logits, model(pixels))
    torch.testing.assert_close(features.pooled, model.forward_features(pixels).mean((2, 3)))
    torch.testing.assert_close(classify(model, features.pooled), features.logits)


@torch.no_grad()
def test_stages_are_mean_and_spread_of_each_map_over_its_positions() -> None:
    model, pixels = backbone("resnet10t"), torch.randn(2, 3, 64, 64)
    maps = {}
    for name in ("act1", "layer1", "layer2", "layer3", "layer4"):
        getattr(model, name).register_forward_hook(lambda _m, _i, out, name=name: maps.update({name: out}))
    features = features_of(model, pixels)
    values = [map_.flatten(2).double().numpy() for map_ in maps.values()]
    expected = np.concatenate([v.mean(axis=2) for v in values] + [v.std(axis=2) for v in values], axis=1)
    np.testing.assert_allclose(features.stages, expected, atol=1e-5)
    spread = select_inputs(features, ["stage_spread"])
    np.testing.assert_allclose(spread, expected[:, expected.shape[1] // 2 :], atol=1e-5)
    assert features.stages.shape[1] == stage_width(model, choose_stages(model, None))


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("deit_tiny_distilled_patch16_224", {"img_size": 64, "depth": 2}),  # two classifiers, averaged
        ("volo_d1_224", {"img_size": 64}),  # an auxiliary classifier of all positions
        ("resnetv2_18", {}),  # a convolution as classifier
        ("mobilenetv3_small_050", {}),  # a layer between pooling and classifier
    ],
)
@torch.no_grad()
def test_logits_are_timms_also_for_unusual_classifiers(name: str, kwargs: dict[str, object]) -> None:
    model, pixels = backbone(name, **kwargs), torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(features_of(model, pixels).logits, model(pixels))


@torch.no_grad()
def test_classify_takes_a_convolutional_classifier() -> None:
    model = backbone("resnetv2_18")
    features = features_of(model, torch.randn(2, 3, 64, 64))
    torch.testing.assert_close(classify(model, features.pooled), features.logits)


def test_at_most_six_stages_evenly_spaced_and_with_the_last() -> None:
    assert choose_stages(backbone("resnet10t"), None) == [0, 1, 2, 3, 4]
    for depth in (6, 7, 11, 12, 24):
        stages = choose_stages(backbone("test_vit", depth=depth), None)
        assert len(stages) == MAX_STAGES
        assert stages[-1] == depth - 1
        assert np.ptp(np.diff(stages)) <= 1
    assert choose_stages(backbone("resnet10t"), [1, 3]) == [1, 3]


@pytest.mark.parametrize("stages", [[], [5], [-1], [0, 99]])
def test_a_stage_that_does_not_exist_is_named(stages: list[int]) -> None:
    with pytest.raises(BackboneError, match=r"stage_indices is \[.*there are stages 0 to 4"):
        choose_stages(backbone("resnet10t"), stages)


def test_a_backbone_without_intermediate_maps_is_refused() -> None:
    with pytest.raises(BackboneError, match="Linear gives no intermediate feature maps; choose another"):
        choose_stages(nn.Linear(2, 2), None)


def brute_force_statistics(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    probabilities = exponentials / exponentials.sum()
    centred = logits - logits.mean()
    top = min(TOP_CLASSES, len(logits))
    positive = probabilities[probabilities > 0]
    return np.concatenate(
        [
            np.sort(logits - logits.max() - np.log(exponentials.sum()))[::-1][:top],
            np.sort(centred)[::-1][:top],
            [-(positive * np.log(positive)).sum()],
            [np.log(np.exp(centred - centred.max()).sum()) + centred.max()],
            [logits.std(ddof=1)],
        ]
    )


@pytest.mark.parametrize("classes", [2, 5, TOP_CLASSES, 100])
def test_class_statistics_against_numpy(classes: int) -> None:
    logits = np.random.default_rng(classes).normal(size=(4, classes)) * 5
    statistics = class_statistics(torch.from_numpy(logits))
    assert statistics.shape == (4, class_statistics_width(classes))
    np.testing.assert_allclose(statistics, [brute_force_statistics(row) for row in logits], rtol=1e-9)


LOGITS = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 3), st.integers(2, 30)), elements=st.floats(-200, 200)
)


@settings(deadline=None)
@given(LOGITS, st.randoms(use_true_random=False), st.floats(-50, 50))
def test_class_statistics_tell_neither_the_class_nor_the_offset(
    logits: np.ndarray, random: object, offset: float
) -> None:
    order = list(range(logits.shape[1]))
    random.shuffle(order)  # type: ignore[attr-defined]
    statistics = class_statistics(torch.from_numpy(logits))
    assert torch.isfinite(statistics).all()
    shuffled = class_statistics(torch.from_numpy(logits[:, order] + offset))
    torch.testing.assert_close(shuffled, statistics, rtol=1e-6, atol=1e-6)


def test_select_inputs_keeps_the_order_and_cuts_the_gradient() -> None:
    pooled, stages, logits = (torch.randn(2, width, requires_grad=True) for width in (3, 4, 5))
    features = ImageFeatures(pooled, stages, logits)
    chosen = select_inputs(features, ["stages", "pooled", "class_statistics"])
    expected = torch.cat([stages, pooled, class_statistics(logits)], dim=1)
    torch.testing.assert_close(chosen, expected.detach())
    assert not chosen.requires_grad


def test_class_statistics_without_a_classifier_are_a_typed_error() -> None:
    features = ImageFeatures(torch.zeros(1, 3), torch.zeros(1, 4), None)
    with pytest.raises(BackboneError, match="class_statistics needs a backbone with a classifier"):
        select_inputs(features, ["class_statistics"])
