from __future__ import annotations

import pytest

from hub_models.errors import RecipeError
from hub_models.generation.checkpoints import RECIPE
from hub_models.generation.recipe import (
    CLASSIFIER_TASK,
    FLOW_TASK,
    load_classifier_recipe,
    load_flow_recipe,
)
from hub_models.paths import CHECKPOINTS
from hub_models.training.recipe import read_recipe_table


def test_released_recipes_are_valid():
    loaders = {FLOW_TASK: load_flow_recipe, CLASSIFIER_TASK: load_classifier_recipe}
    names = []
    for path in CHECKPOINTS.glob(f"*/{RECIPE}"):
        task = read_recipe_table(path)["task"]
        if task in loaders:
            assert loaders[task](path).name == path.parent.name
            names.append(path.parent.name)
    assert {"digits-flow", "digits-flow-memorised", "digit-classifier", "cifar10-flow"} <= set(names)


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ({"top": "beta = 1"}, "beta"),
        ({"data": "colour = true"}, "colour"),
        ({"data": "flip = 1"}, "flip"),
        ({"network": "layers = 0"}, "layers"),
        ({"network": "dropout = 1.0"}, "dropout"),
        ({"training": "ema = 1.5"}, "ema"),
        ({"training": "label_dropout = -0.1"}, "label_dropout"),
        ({"training": "learning_rate = 0.0"}, "learning_rate"),
        ({"training": "learning_rate = nan"}, "learning_rate"),
    ],
)
def test_bad_field_is_named(write_recipe, lines, named):
    with pytest.raises(RecipeError, match=named):
        load_flow_recipe(write_recipe(**lines))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"class-conditional-generation"', '"image-uncertainty"', "task"),
        ('"digits"', '"letters"', "letters"),
        ("count = 16", "count = -1", "count"),
        ("[8, 8]", "[8, 12]", "multiples of 8"),
        ("[8, 8]", "[]", "channels"),
        ("attention = []", "attention = [2]", "attention"),
        ("steps = 2", "", "steps"),
        ("steps = 2", "steps = 0", "steps"),
    ],
)
def test_bad_value_is_named(write_recipe, old, new, named):
    path = write_recipe()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RecipeError, match=named):
        load_flow_recipe(path)
