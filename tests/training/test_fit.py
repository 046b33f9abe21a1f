from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from hub_models.backbones import image_processor
from hub_models.configuration_image_uncertainty import ImageUncertaintyConfig
from hub_models.errors import BackboneError
from hub_models.evaluation.ranking import spearman
from hub_models.image_features import ImageFeatures, class_statistics, select_inputs
from hub_models.image_sources import FolderSource
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel
from hub_models.training import fit
from hub_models.training.feature_cache import FeatureCache, build_feature_cache
from hub_models.training.fit import CachedInputs, fit_head, warm_up_then_cosine
from hub_models.training.losses import LOSSES, order_loss, squared_loss
from hub_models.training.recipe import TrainingRecipe
from hub_models.training.views import Views
from hub_models.uncertainty_head import UncertaintyHead

IMAGES, VIEWS, STAGES = 20, 3, 6
CHOSEN = np.array([1, 2, 3, 5, 8, 13, 17, 19])
WANTED_VIEWS = np.array([0, 2])
ROWS = len(CHOSEN) * len(WANTED_VIEWS)
RECIPE = TrainingRecipe(passes=2, batch_size=6, learning_rate=1e-2)


@pytest.fixture(scope="module")
def model() -> ImageUncertaintyModel:
    torch.manual_seed(0)
    return ImageUncertaintyModel(ImageUncertaintyConfig(backbone="test_efficientnet", num_classes=30)).eval()


def random_cache(model: ImageUncertaintyModel, folder: Path) -> FeatureCache:
    generator = np.random.default_rng(0)
    pooled = generator.standard_normal((IMAGES, VIEWS, model.backbone.num_features)).astype(np.float32)
    stages = 5 + 3 * generator.standard_normal((IMAGES, VIEWS, STAGES)).astype(np.float32)
    return FeatureCache(pooled, stages, np.ones(IMAGES, bool), {}, Views(crops=VIEWS - 1), folder)


@pytest.fixture
def cache(model: ImageUncertaintyModel, tmp_path: Path) -> FeatureCache:
    cache = random_cache(model, tmp_path)
    cache.pooled.flags.writeable = cache.stages.flags.writeable = False
    return cache


def inputs_of(model: ImageUncertaintyModel, cache: FeatureCache, *names: str) -> CachedInputs:
    return CachedInputs(model, cache, CHOSEN, WANTED_VIEWS, list(names))


def fitted(inputs: CachedInputs, target: np.ndarray, seed: int = 0, members: int = 2) -> UncertaintyHead:
    head = UncertaintyHead(inputs.read(np.array([0])).shape[1], width=8, depth=1, members=members)
    fit_head(head, inputs, target, order_loss, RECIPE, seed)
    return head


TARGET = np.random.default_rng(1).random(ROWS)


@pytest.mark.parametrize(
    "names", [["pooled"], ["stages"], ["stage_spread"], ["class_statistics"], ["stage_spread", "pooled"]]
)
def test_a_row_is_one_view_of_one_image(model: ImageUncertaintyModel, cache: FeatureCache, names: list[str]):
    inputs = inputs_of(model, cache, *names)
    assert len(inputs) == ROWS
    rows = np.array([5, 0, 15, 5])
    read = inputs.read(rows)
    for row, actual in zip(rows, read, strict=True):
        place = CHOSEN[row // 2], WANTED_VIEWS[row % 2]
        pooled = torch.tensor(cache.pooled[place])[None]
        features = ImageFeatures(pooled, torch.tensor(cache.stages[place])[None], model.classify(pooled))
        torch.testing.assert_close(actual, select_inputs(features, names)[0])


def test_class_statistics_are_those_of_the_logits(model: ImageUncertaintyModel, cache: FeatureCache):
    read = inputs_of(model, cache, "class_statistics").read(np.arange(ROWS))
    pooled = torch.from_numpy(cache.pooled[CHOSEN][:, WANTED_VIEWS].reshape(ROWS, -1))
    torch.testing.assert_close(read, class_statistics(model.backbone.get_classifier()(pooled)).detach())


def test_inputs_are_standardised_by_the_rows_that_are_trained_on(
    model: ImageUncertaintyModel, cache: FeatureCache
):
    head = fitted(inputs_of(model, cache, "stages"), TARGET)
    rows = cache.stages[CHOSEN][:, WANTED_VIEWS].reshape(ROWS, -1)
    np.testing.assert_allclose(head.input_mean, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(head.input_scale, rows.std(axis=0, ddof=1), rtol=1e-5)


def test_the_same_seed_gives_the_same_head(model: ImageUncertaintyModel, cache: FeatureCache):
    inputs = inputs_of(model, cache, "pooled")
    first, again, other = (fitted(inputs, TARGET, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["members.0.0.weight"], other["members.0.0.weight"])


@pytest.mark.parametrize("learning_rate", [0.0, 1e-2])
def test_members_start_and_end_apart(model: ImageUncertaintyModel, cache: FeatureCache, learning_rate: float):
    head = UncertaintyHead(cache.pooled.shape[2], width=8, depth=1, members=2)
    recipe = TrainingRecipe(passes=1, batch_size=6, learning_rate=learning_rate)
    fit_head(head, inputs_of(model, cache, "pooled"), TARGET, order_loss, recipe, seed=0)
    first, second = (member[0].weight for member in head.members)
    assert not torch.equal(first, second)


def test_a_member_does_not_depend_on_how_many_follow(model: ImageUncertaintyModel, cache: FeatureCache):
    inputs = inputs_of(model, cache, "pooled")
    alone, first = (fitted(inputs, TARGET, members=members).members[0] for members in (1, 2))
    torch.testing.assert_close(alone[0].weight, first[0].weight, rtol=0, atol=0)


def test_fitting_leaves_the_global_random_state_alone(model: ImageUncertaintyModel, cache: FeatureCache):
    head = UncertaintyHead(STAGES, width=8, depth=1)
    inputs = inputs_of(model, cache, "stages")
    before = torch.get_rng_state()
    fit_head(head, inputs, TARGET, order_loss, RECIPE, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_fitted_head_is_frozen_and_the_backbone_got_no_gradient(
    model: ImageUncertaintyModel, cache: FeatureCache
):
    head = fitted(inputs_of(model, cache, "class_statistics"), TARGET)
    assert not any(p.requires_grad for p in head.parameters())
    assert all(p.grad is None for p in model.backbone.parameters())


def test_only_whole_batches_are_stepped_over(model: ImageUncertaintyModel, cache: FeatureCache):
    inputs = inputs_of(model, cache, "pooled")
    head = UncertaintyHead(cache.pooled.shape[2], width=8, depth=1, members=3)
    steps: list[int] = []
    fit_head(head, inputs, TARGET, order_loss, RECIPE, 0, steps.append)
    assert steps == [6] * (ROWS // 6 * RECIPE.passes * 3)


@pytest.mark.parametrize("names", [["pooled"], ["stage_spread"], ["class_statistics"]])
def test_inputs_too_large_for_memory_give_the_same_head(
    model: ImageUncertaintyModel, cache: FeatureCache, names: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fit, "CHUNK", 5)  # no divisor of the number of rows
    held = fitted(inputs_of(model, cache, *names), TARGET).state_dict()
    monkeypatch.setattr(fit, "MEMORY_BUDGET", 0)
    read_anew = fitted(inputs_of(model, cache, *names), TARGET).state_dict()
    for key in held:
        torch.testing.assert_close(held[key], read_anew[key], rtol=1e-3, atol=1e-4)


def test_held_inputs_are_read_once(
    model: ImageUncertaintyModel, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
):
    asked: list[np.ndarray] = []
    read = CachedInputs.read
    monkeypatch.setattr(CachedInputs, "read", lambda self, rows: (asked.append(rows), read(self, rows))[1])
    inputs = inputs_of(model, cache, "pooled")
    head = UncertaintyHead(cache.pooled.shape[2], width=8, depth=1, members=3)
    fit_head(head, inputs, TARGET, order_loss, RECIPE, seed=0)
    statistics, *rest = asked
    np.testing.assert_array_equal(statistics, np.arange(ROWS))
    np.testing.assert_array_equal(np.concatenate(rest), np.arange(ROWS))


@pytest.mark.parametrize("budget", [0, fit.MEMORY_BUDGET])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(
    model: ImageUncertaintyModel, tmp_path: Path, value: float, budget: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fit, "MEMORY_BUDGET", budget)
    cache = random_cache(model, tmp_path)
    cache.stages[CHOSEN[3], 2, 1] = value
    with pytest.raises(BackboneError, match="NaN or infinity; check the backbone's weights"):
        fitted(inputs_of(model, cache, "stages"), TARGET)


def test_features_of_other_images_and_views_do_not_matter(model: ImageUncertaintyModel, tmp_path: Path):
    cache = random_cache(model, tmp_path)
    expected = fitted(inputs_of(model, cache, "stages"), TARGET).state_dict()
    cache.stages[0] = np.nan
    cache.stages[:, 1] = np.nan
    actual = fitted(inputs_of(model, cache, "stages"), TARGET).state_dict()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)


def test_targets_that_are_not_finite_are_refused(model: ImageUncertaintyModel, cache: FeatureCache):
    with pytest.raises(BackboneError, match="targets hold NaN or infinity"):
        fitted(inputs_of(model, cache, "pooled"), np.where(np.arange(ROWS) == 7, np.nan, TARGET))


@given(steps=st.integers(1, 2000))
def test_the_learning_rate_rises_once_and_falls_to_near_zero(steps: int):
    factors = [warm_up_then_cosine(step, steps) for step in range(steps)]
    top = factors.index(max(factors))
    assert factors[top] == 1
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert top <= max(1, round(0.05 * steps))
    if steps >= 100:
        assert factors[-1] < 0.01


def test_the_weights_move_as_adamw_with_this_schedule_moves_them(
    model: ImageUncertaintyModel, cache: FeatureCache
):
    inputs = inputs_of(model, cache, "stages")
    head = UncertaintyHead(STAGES, width=8, depth=1)
    fit_head(head, inputs, TARGET, squared_loss, RECIPE, seed=5)

    expected = UncertaintyHead(STAGES, width=8, depth=1)
    everything = inputs.read(np.arange(ROWS)).clone()
    expected.fit_input_statistics(everything.mean(dim=0), everything.std(dim=0))
    torch.manual_seed(5 * 1000)
    for layer in (expected.members[0][0], expected.members[0][2]):
        layer.reset_parameters()
    weights = list(expected.members[0].parameters())
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
    order = np.random.default_rng([5, 0])
    batches = [
        rows[start : start + 6]
        for rows in (order.permutation(ROWS), order.permutation(ROWS))
        for start in (0, 6)
    ]
    for step, batch in enumerate(batches):
        loss = squared_loss(expected(everything[batch]), torch.from_numpy(TARGET[batch]).float())
        rate = RECIPE.learning_rate * warm_up_then_cosine(step, 4)
        for weight, gradient, (first, second) in zip(
            weights, torch.autograd.grad(loss, weights), moments, strict=True
        ):
            first.mul_(0.8).add_(0.2 * gradient)
            second.mul_(0.95).add_(0.05 * gradient**2)
            scale = (second / (1 - 0.95 ** (step + 1))).sqrt() + 1e-8
            with torch.no_grad():
                weight -= rate * (RECIPE.weight_decay * weight + first / (1 - 0.8 ** (step + 1)) / scale)
    for actual, weight in zip(head.members[0].parameters(), weights, strict=True):
        torch.testing.assert_close(actual, weight, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def blurred(model: ImageUncertaintyModel, tmp_path_factory: pytest.TempPathFactory):
    """Features of grainy images and how much each was blurred, which is the loss to predict."""
    folder = tmp_path_factory.mktemp("blurred")
    generator = np.random.default_rng(0)
    radii = generator.uniform(0, 4, 120)
    for number, radius in enumerate(radii.tolist()):
        grain = Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        grain.filter(ImageFilter.GaussianBlur(radius)).save(folder / f"{number:03d}.png")
    processor = image_processor("test_efficientnet")
    cache = build_feature_cache(
        model, processor, FolderSource(folder), Views(), folder / "cache", show_progress=False
    )
    return cache, radii.astype(np.float32)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("names", [["stage_spread"], ["pooled"], ["class_statistics", "stages"]])
def test_a_head_learns_how_blurred_unseen_images_are(
    model: ImageUncertaintyModel, blurred, loss: str, names: list[str]
):
    cache, radii = blurred
    seen, unseen, views = np.arange(80), np.arange(80, 120), np.array([0])
    inputs = CachedInputs(model, cache, seen, views, names)
    head = UncertaintyHead(inputs.read(np.array([0])).shape[1], width=32, depth=1, members=2)
    recipe = TrainingRecipe(passes=30, batch_size=16, learning_rate=3e-3)
    fit_head(head, inputs, radii[seen], LOSSES[loss], recipe, seed=0)
    predicted = head(CachedInputs(model, cache, unseen, views, names).read(np.arange(40))).numpy()
    assert spearman(predicted, radii[unseen]) > 0.6  # by chance 0 +- 0.16; the backbone is random
