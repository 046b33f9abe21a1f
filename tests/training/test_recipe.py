from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from hub_models.errors import RecipeError
from hub_models.paths import CHECKPOINTS
from hub_models.training.recipe import (
    DataRecipe,
    ReadOutRecipe,
    TrainingRecipe,
    load_recipe,
    read_recipe_table,
)
from hub_models.training.views import VIEW_KINDS, Views

RECIPE = """
name = "tiny"
task = "image-uncertainty"
summary = "A tiny model."
licence = "research-only"
backbone = "test_efficientnet"
weights = "package"

[data]
images = "photos"

[read_outs.error]
inputs = ["pooled"]
target = { cross_entropy = 1 }

[default]
error = 1.0
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def replaced(old: str, new: str) -> str:
    assert old in RECIPE
    return RECIPE.replace(old, new)


def test_what_is_left_out_has_the_documented_defaults(tmp_path: Path):
    recipe = load_recipe(write(tmp_path, RECIPE))
    assert recipe.data == DataRecipe(images="photos", split="train", held_out=0.2, where={})
    assert recipe.views == Views(crops=0, degraded=0, centre_crops=0, seed=0)
    assert recipe.training == TrainingRecipe(6, 128, 1e-3, 1e-4)
    assert recipe.read_outs == {
        "error": ReadOutRecipe(["pooled"], {"cross_entropy": 1}, "order", list(VIEW_KINDS), 512, 2, 1)
    }
    assert (recipe.default, recipe.seed) == ({"error": 1.0}, 0)


def test_every_field_that_is_given_is_kept(tmp_path: Path):
    text = (
        replaced('weights = "package"', 'weights = "w.safetensors"\nseed = 7')
        .replace(
            'images = "photos"', 'images = "dataset:x"\nsplit = "a"\nheld_out = 0.5\nwhere = { p = "q" }'
        )
        .replace(
            "1 }", '2.5, instance = 1 }\nloss = "l2"\nviews = ["crop"]\nwidth = 3\ndepth = 0\nmembers = 2'
        )
    )
    text += "[views]\ncrops = 1\ndegraded = 2\ncentre_crops = 3\nseed = 4\n"
    text += "[training]\npasses = 1\nbatch_size = 2\nlearning_rate = 1\nweight_decay = 0\n"
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.data == DataRecipe("dataset:x", "a", 0.5, {"p": "q"})
    assert recipe.views == Views(1, 2, 3, 4)
    assert recipe.training == TrainingRecipe(1, 2, 1, 0)
    target = {"cross_entropy": 2.5, "instance": 1}
    assert recipe.read_outs["error"] == ReadOutRecipe(["pooled"], target, "l2", ["crop"], 3, 0, 2)
    assert (recipe.weights, recipe.seed) == ("w.safetensors", 7)


HEADS = [
    path for path in sorted(CHECKPOINTS.glob("*/recipe.toml")) if read_recipe_table(path).get("read_outs")
]


@pytest.mark.parametrize("path", HEADS, ids=lambda p: p.parent.name)
def test_the_recipes_of_the_zoo_are_valid_and_named_as_their_folder(path: Path):
    assert load_recipe(path).name == path.parent.name


TOP = ["name", "task", "summary", "licence", "backbone", "weights"]


@pytest.mark.parametrize("field", TOP)
def test_each_missing_field_is_named(tmp_path: Path, field: str):
    text = "\n".join(line for line in RECIPE.splitlines() if not line.startswith(f"{field} "))
    with pytest.raises(RecipeError, match=rf"recipe\.toml: field '{field}' is missing in the top level"):
        load_recipe(write(tmp_path, text))


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ('images = "photos"', "field 'images' is missing in data"),
        ('[data]\nimages = "photos"', "field 'images' is missing in data"),
        ('inputs = ["pooled"]', "field 'inputs' is missing in read_outs.error"),
        ("target = { cross_entropy = 1 }", "field 'target' is missing in read_outs.error"),
        ("[default]\nerror = 1.0", "field 'default' is missing in the top level"),
    ],
)
def test_each_missing_field_of_a_table_is_named(tmp_path: Path, removed: str, message: str):
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, replaced(removed, "")))


def test_all_missing_fields_are_named_at_once(tmp_path: Path):
    with pytest.raises(RecipeError, match="'name', 'task'"):
        load_recipe(write(tmp_path, replaced('name = "tiny"\ntask = "image-uncertainty"', "")))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("colour = 1\nshape = 2\n" + RECIPE, "the top level"),
        (replaced("[data]", "[data]\ncolour = 1\nshape = 2"), "data"),
        (replaced("[read_outs.error]", "[read_outs.error]\ncolour = 1\nshape = 2"), "read_outs.error"),
        (RECIPE + "[views]\ncolour = 1\nshape = 2", "views"),
        (RECIPE + "[training]\ncolour = 1\nshape = 2", "training"),
    ],
)
def test_unknown_fields_are_named_with_the_known_ones(tmp_path: Path, text: str, where: str):
    with pytest.raises(RecipeError, match=rf"unknown field 'colour', 'shape' in {where}; known: \w+, "):
        load_recipe(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (replaced('"tiny"', "3"), "name in the top level is 3; it must be of type str"),
        ("seed = 1.5\n" + RECIPE, "seed in the top level is 1.5; it must be of type int"),
        (replaced('"photos"', "true"), "images in data is True; it must be of type str"),
        (replaced("[data]", '[data]\nheld_out = "half"'), "held_out in data is 'half'; .* type float"),
        (replaced("[data]", "[data]\nwhere = { a = 1 }"), "where in data is .* type dict"),
        (replaced('["pooled"]', '"pooled"'), "inputs in read_outs.error is 'pooled'; .* type list"),
        (replaced("= 1 }", '= "much" }'), "target in read_outs.error is .* type dict"),
        (RECIPE + "[training]\npasses = 1.0", "passes in training is 1.0; .* type int"),
        (RECIPE + "[training]\nlearning_rate = nan", "learning_rate in training is nan; .* type float"),
        (RECIPE + "[views]\ncrops = true", "crops in views is True; .* type int"),
        ("views = 3\n" + RECIPE, "views must be a table"),
        ("training = []\n" + RECIPE, "training must be a table"),
        ('data = "photos"\n' + replaced('[data]\nimages = "photos"', ""), "data must be a table"),
        ("read_outs = 3\n" + RECIPE.replace("[read_outs.error]", "[other]"), "read_outs must be a table"),
        ("default = 3\n" + replaced("[default]\nerror = 1.0", ""), "default in the top level is 3; .* dict"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(tmp_path: Path, text: str, message: str):
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (replaced("image-uncertainty", "fortune-telling"), "task is 'fortune-telling'"),
        (replaced("[data]", "[data]\nheld_out = 0"), "data.held_out is 0; it must lie between 0 and 1"),
        (replaced("[data]", "[data]\nheld_out = 1.0"), "data.held_out is 1.0"),
        (replaced("[data]", '[data]\nwhere = { a = "b" }'), r"data\.where selects rows of a dataset:"),
        (replaced('"pooled"', '"pixels"'), r"read_outs\.error\.inputs is \['pixels'\]; choose from pooled"),
        (replaced('["pooled"]', "[]"), r"read_outs\.error\.inputs is \[\]; choose from"),
        (replaced("cross_entropy", "luck"), r"read_outs\.error\.target is \['luck'\]; choose from"),
        (replaced("{ cross_entropy = 1 }", "{}"), r"read_outs\.error\.target is \[\]; choose from"),
        (replaced("= 1 }", "= 0 }"), r"read_outs\.error\.target is .*; weights must be above 0"),
        (
            replaced("= 1 }", '= 1 }\nloss = "l1"'),
            r"read_outs\.error\.loss is \['l1'\]; choose from order, l2",
        ),
        (replaced("= 1 }", '= 1 }\nviews = ["side"]'), r"read_outs\.error\.views is \['side'\]; choose from"),
        (replaced("= 1 }", '= 1 }\nviews = ["crop"]'), r"error\.views is .* but \[views\] makes none"),
        (replaced("= 1 }", "= 1 }\nwidth = 0"), r"read_outs\.error\.width is 0; it must be at least 1"),
        (replaced("= 1 }", "= 1 }\ndepth = -1"), r"read_outs\.error\.depth is -1; it must be at least 0"),
        (replaced("= 1 }", "= 1 }\nmembers = 0"), r"read_outs\.error\.members is 0; it must be at least 1"),
        (replaced("error = 1.0", "luck = 1.0"), r"default is \['luck'\]; choose from error"),
        (replaced("error = 1.0", ""), r"default is \[\]; choose from error"),
        (RECIPE + "[views]\ncrops = -1", "views: .*cannot be negative"),
        (RECIPE + "[training]\nbatch_size = 7", r"training\.batch_size is 7; pairs need an even number"),
        (RECIPE + "[training]\nbatch_size = 0", r"training\.batch_size is 0; it must be at least 2"),
        (RECIPE + "[training]\npasses = 0", r"training\.passes is 0; it must be at least 1"),
        (RECIPE + "[training]\nlearning_rate = -1.0", r"training\.learning_rate is -1.0"),
        (RECIPE + "[training]\nweight_decay = -1.0", r"training\.weight_decay is -1.0"),
        (RECIPE.split("[read_outs")[0] + "[default]\nerror = 1", r"no \[read_outs\.<name>\] table"),
    ],
)
def test_a_value_out_of_range_is_named(tmp_path: Path, text: str, message: str):
    tomllib.loads(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, text))


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"name = 1\nname = 2"])
def test_what_is_not_toml_is_refused_with_the_path(tmp_path: Path, content: bytes):
    (tmp_path / "recipe.toml").write_bytes(content)
    with pytest.raises(RecipeError, match=r"recipe\.toml: not valid TOML"):
        load_recipe(tmp_path / "recipe.toml")


def test_a_missing_file_is_named_with_where_to_find_examples(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"none\.toml: no such recipe; see hub_models/checkpoints"):
        load_recipe(tmp_path / "none.toml")


def test_a_folder_is_no_recipe(tmp_path: Path):
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path)


def test_a_recipe_cannot_be_changed_by_accident(tmp_path: Path):
    recipe: Any = load_recipe(write(tmp_path, RECIPE))
    with pytest.raises(AttributeError):
        recipe.seed = 1
