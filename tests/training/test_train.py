"""From a recipe to a checkpoint that loads, on a tiny backbone and generated images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from datasets import Dataset, Features, Value
from datasets import Image as DatasetImage
from PIL import Image, ImageFilter
from safetensors.torch import save_file

from hub_models import zoo
from hub_models.checkpoint_folder import save_checkpoint
from hub_models.errors import BackboneError, ImageSourceError, RecipeError
from hub_models.image_sources import FolderSource, read_source_image
from hub_models.training.recipe import DataRecipe, Recipe, TrainingRecipe, load_recipe
from hub_models.training.train import features_at, train, with_seed

from ..generated_images import write_images

CLASSES = ("n01440764", "n02102040")

RECIPE = """
name = "tiny"
task = "image-uncertainty"
summary = "For a test."
licence = "apache-2.0"
backbone = "test_efficientnet"
weights = "{weights}"
[data]
images = "{images}"
held_out = 0.25
[views]
crops = 2
degraded = 1
[training]
passes = 3
batch_size = 16
[read_outs.error]
inputs = ["class_statistics"]
target = {{ mistake = 1.0 }}
width = 8
[read_outs.transfer]
inputs = ["stage_spread"]
target = {{ cross_entropy = 1.0, instance = 0.5 }}
views = ["full", "degraded"]
width = 8
members = 2
[default]
error = 0.5
transfer = 0.5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("train")
    torch.manual_seed(0)
    save_file(
        timm.create_model("test_efficientnet", num_classes=1000).state_dict(), root / "backbone.safetensors"
    )
    generator = np.random.default_rng(0)
    for number in range(40):
        path = root / "images" / CLASSES[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grain = Image.fromarray(generator.integers(0, 256, (48, 48, 3), dtype=np.uint8))
        grain.filter(ImageFilter.GaussianBlur(number % 5)).save(path)
    (root / "images" / CLASSES[0] / "broken.png").write_bytes(b"not an image")
    text = RECIPE.format(weights=root / "backbone.safetensors", images=root / "images")
    (root / "recipe.toml").write_text(text)
    return root


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    return load_recipe(folder / "recipe.toml")


def test_a_recipe_becomes_a_checkpoint_that_loads_and_gives_the_same_answers(
    folder: Path, recipe: Recipe
) -> None:
    trained = train(recipe, folder / "cache", show_progress=False)
    assert list(trained.cache.skipped) == [f"{CLASSES[0]}/broken.png"]
    assert len(trained.held_out) == 10
    save_checkpoint(trained.model, folder / "checkpoint", folder / "recipe.toml")

    model = zoo.load(folder / "checkpoint")
    processor = zoo.load_image_processor(folder / "checkpoint")
    source = FolderSource(folder / "images")
    features = features_at(trained.model, trained.cache, trained.held_out)
    with torch.no_grad():
        expected = trained.model.read_out(features)
        images = [read_source_image(source, i) for i in trained.held_out]
        actual = model(**processor(images, return_tensors="pt"))
    torch.testing.assert_close(actual.uncertainty, expected.uncertainty, rtol=1e-3, atol=1e-3)
    # The held-out images are the reference, so their percentiles spread evenly.
    assert sorted(expected.uncertainty_percentile.tolist()) == pytest.approx(np.linspace(0, 1, 10), abs=1e-3)
    assert model.config.reference_size == 10


def test_the_backbone_stays_as_it_was(folder: Path, recipe: Recipe) -> None:
    from safetensors.torch import load_file

    trained = train(recipe, folder / "cache", show_progress=False)
    for name, tensor in load_file(folder / "backbone.safetensors").items():
        assert torch.equal(trained.model.backbone.state_dict()[name], tensor), name


def test_one_seed_gives_one_model_and_another_seed_another(folder: Path, recipe: Recipe) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        trained = train(with_seed(recipe, seed), folder / "cache", show_progress=False)
        return trained.model.heads.state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_too_few_images_to_hold_out_are_refused(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "few" / CLASSES[0]
    path.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (48, 48), (number, 0, 0)).save(path / f"{number}.png")
    few = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, images=str(tmp_path / "few")))
    with pytest.raises(RecipeError, match="held_out"):
        train(few, tmp_path / "cache", show_progress=False)


def test_nothing_is_left_to_train(folder: Path, recipe: Recipe) -> None:
    model = train(recipe, folder / "cache", show_progress=False).model
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_a_large_reference_is_thinned_out(
    folder: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_models.training.train.MAX_REFERENCE", 3)
    assert train(recipe, folder / "cache", show_progress=False).model.config.reference_size == 3


def by_instance(recipe: Recipe, **data: Any) -> Recipe:
    """The recipe on other images, with one read-out, which needs no labels."""
    read_out = dataclasses.replace(recipe.read_outs["transfer"], target={"instance": 1.0})
    return dataclasses.replace(
        recipe,
        read_outs={"transfer": read_out},
        default={"transfer": 1.0},
        data=dataclasses.replace(recipe.data, **data),
    )


@pytest.mark.parametrize("classes", [("cat", "dog"), ("",)])
def test_instance_needs_no_labels_and_minds_none(
    tmp_path: Path, recipe: Recipe, classes: tuple[str, ...]
) -> None:
    photos = write_images(tmp_path / "photos", 16 // len(classes), classes)
    trained = train(by_instance(recipe, images=str(photos)), tmp_path / "cache", show_progress=False)
    assert len(trained.held_out) == 4


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("cat", "dog"), r"the images have 2 classes, the classifier 1000: .*WordNet id.*instance"),
        (("",), "needs labels, but the images have none"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_before_anything_is_cached(
    tmp_path: Path, recipe: Recipe, classes: tuple[str, ...], message: str
) -> None:
    photos = write_images(tmp_path / "photos", 16, classes)
    wrong = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, images=str(photos)))
    with pytest.raises(RecipeError, match=message):
        train(wrong, tmp_path / "cache", show_progress=False)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"backbone": "test_eficientnet"}, BackboneError, r"did you mean .*test_efficientnet"),
        (
            {"backbone": "vit_small_patch14_dinov2"},
            RecipeError,
            r"tiny: .*class_statistics.* num_classes is 0",
        ),
        ({"training": TrainingRecipe(batch_size=256)}, RecipeError, "120 views make no batch of 256"),
        ({"data": DataRecipe("nowhere")}, ImageSourceError, "nowhere: no such folder"),
    ],
)
def test_a_recipe_that_cannot_be_followed_says_why(
    folder: Path, recipe: Recipe, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(dataclasses.replace(recipe, **change), folder / "cache", show_progress=False)


def test_holding_every_image_out_is_refused(folder: Path, recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match="keeps 40 of 40 images apart"):
        train(by_instance(recipe, held_out=0.999), folder / "cache", show_progress=False)


@pytest.fixture
def flowers(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe on a built data set of 12 unlabelled photos, whose column ``part`` is a or b in turn."""
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "cache"))
    photos = sorted(write_images(tmp_path / "photos", 12).iterdir())
    rows = {
        "image": [{"bytes": photo.read_bytes(), "path": None} for photo in photos],
        "name": [photo.name for photo in photos],
        "part": ["ab"[i % 2] for i in range(len(photos))],
    }
    features = Features({"image": DatasetImage(), "name": Value("string"), "part": Value("string")})
    target = tmp_path / "cache" / "datasets" / "flowers" / "data"
    target.mkdir(parents=True)
    Dataset.from_dict(rows, features=features).to_parquet(str(target / "train-00000-of-00001.parquet"))
    return dataclasses.replace(
        by_instance(recipe, images="dataset:flowers", where={"part": "a"}), training=TrainingRecipe(1, 2)
    )


def of_where(recipe: Recipe, where: dict[str, str]) -> Recipe:
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, where=where))


def test_where_keeps_the_rows_of_that_kind(flowers: Recipe, tmp_path: Path) -> None:
    for where, count in (({"part": "a"}, 6), ({}, 12)):
        trained = train(of_where(flowers, where), tmp_path / "features", show_progress=False)
        assert len(trained.cache.pooled) == count


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"colour": "red"}, r"data\.where names colour; columns are image, name, part"),
        ({"part": "c"}, r"data\.where is .*; no row of dataset:flowers is like that"),
    ],
)
def test_where_that_selects_nothing_is_named(
    flowers: Recipe, tmp_path: Path, where: dict[str, str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        train(of_where(flowers, where), tmp_path / "features", show_progress=False)
