"""From a recipe to a checkpoint that loads, on a tiny backbone and generated images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file

from hub_models import zoo
from hub_models.checkpoint_folder import save_checkpoint
from hub_models.errors import RecipeError
from hub_models.image_sources import FolderSource, read_source_image
from hub_models.training.recipe import Recipe, load_recipe
from hub_models.training.train import features_at, train, with_seed

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


def test_folder_classes_that_the_classifier_does_not_know_are_refused(tmp_path: Path, folder: Path) -> None:
    for number in range(8):
        path = tmp_path / "pets" / ("cat" if number % 2 else "dog") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 48), (number, 0, 0)).save(path)
    pets = load_recipe(folder / "recipe.toml")
    pets = dataclasses.replace(pets, data=dataclasses.replace(pets.data, images=str(tmp_path / "pets")))
    with pytest.raises(RecipeError, match="2 classes"):
        train(pets, tmp_path / "cache", show_progress=False)


def test_too_few_images_to_hold_out_are_refused(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "few" / CLASSES[0]
    path.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (48, 48), (number, 0, 0)).save(path / f"{number}.png")
    few = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, images=str(tmp_path / "few")))
    with pytest.raises(RecipeError, match="held_out"):
        train(few, tmp_path / "cache", show_progress=False)
