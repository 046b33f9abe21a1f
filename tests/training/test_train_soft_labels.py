from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hub_models.errors import RecipeError
from hub_models.training.recipe_soft_labels import SoftLabelRecipe, load_soft_label_recipe
from hub_models.training.train_probabilistic_embedding import new_embedding
from hub_models.training.train_soft_labels import (
    folds,
    train_soft_label_embedding,
    train_soft_labels,
    voted_images,
)
from hub_models.zoo import load

from .voted_images import write_soft_label_recipe, write_votes

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "cache"))
    write_votes(tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def recipe(tmp_path: Path, cache: Path) -> SoftLabelRecipe:
    return load_soft_label_recipe(write_soft_label_recipe(tmp_path))


def test_folds_are_disjoint_and_always_the_same():
    dealt = folds(10_000, 5)
    assert [len(part) for part in dealt] == [2000] * 5
    assert sorted(np.concatenate(dealt)) == list(range(10_000))
    for part, again in zip(dealt, folds(10_000, 5), strict=True):
        np.testing.assert_array_equal(part, again)


def test_training_moves_the_embedding_but_not_the_backbone_of_the_warm_up(recipe, cache):
    model = train_soft_labels(recipe, cache / "features", show_progress=False)
    again = train_soft_labels(recipe, cache / "features", show_progress=False)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.config.class_names
    cut = new_embedding(recipe.warm_up)[1]
    voted = voted_images(recipe, cut, cache / "features", show_progress=False)
    assert len(voted.train) == 18
    assert len(voted.test) == len(voted.validation) == 6
    assert set(voted.train) & set(voted.test) == set()
    kappa = model(torch.randn(4, 3, 32, 32)).concentration
    assert len(set(kappa.tolist())) == 4  # the head has learned to tell images apart


def test_a_trained_recipe_is_a_checkpoint_that_loads(tmp_path, cache):
    path = write_soft_label_recipe(tmp_path)
    train_soft_label_embedding(path, tmp_path / "checkpoint")
    model = load(tmp_path / "checkpoint")
    assert model.config.concentration_from == "head"
    assert model(torch.randn(1, 3, 32, 32)).mean_direction.shape == (1, 8)


def test_an_image_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "cache"))
    write_votes(tmp_path / "cache", damaged=3)
    recipe = load_soft_label_recipe(write_soft_label_recipe(tmp_path))
    with pytest.raises(RecipeError, match=r"03\.png: cannot be read or has no votes"):
        voted_images(recipe, new_embedding(recipe.warm_up)[1], tmp_path / "cache", show_progress=False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("folds = 2", "folds is 2"),
        ("variant = 'other'", "variant is 'other'; choose from paper, url, bud"),
        ("learning_rate = 0.0", "learning_rate is 0.0; it must be above 0"),
        ("weight_decay = -1.0", "weight_decay is -1.0"),
        ("nonsense = 1", "unknown field 'nonsense' in soft_labels"),
    ],
)
def test_bad_settings_are_named(tmp_path, line, message):
    path = write_soft_label_recipe(tmp_path, line + "\n")
    with pytest.raises(RecipeError, match=message):
        load_soft_label_recipe(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("negatives = 3", "negatives = 6", "negatives is 6; it must be from 1 to 5"),
        ("samples = 4", "samples = 0", "samples and epochs must be at least 1"),
        ('"dataset:tiny_votes"', '"photos"', "votes come with a dataset"),
        ('"head"', '"norm"', 'concentration_from must be "head"'),
        ('images = "dataset:tiny_votes"\n', "", "field 'images' is missing in soft_labels"),
    ],
)
def test_contradictions_are_named(tmp_path, old, new, message):
    path = write_soft_label_recipe(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        load_soft_label_recipe(path)
