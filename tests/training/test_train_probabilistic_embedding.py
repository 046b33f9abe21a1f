from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from hub_models.checkpoint_folder import save_checkpoint
from hub_models.errors import CheckpointError, RecipeError
from hub_models.training.embedding_losses import make_objective
from hub_models.training.fit_embedding import (
    class_batches,
    embed_images,
    fit_embedding,
    parameter_groups,
    start_at_principal_axes,
)
from hub_models.training.recipe_probabilistic_embedding import (
    LOSS_NAMES,
    ProbabilisticEmbeddingRecipe,
    ProxyLossRecipe,
    load_embedding_recipe,
)
from hub_models.training.train_probabilistic_embedding import (
    TrainedEmbedding,
    labelled_maps,
    new_embedding,
    train_embedding,
    train_on_maps,
    train_probabilistic_embedding,
    with_seed,
)
from hub_models.zoo import load

from .tiny_embeddings import write_recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("embedding")
    write_recipe(path)
    return path


@pytest.fixture(scope="module")
def recipe(folder: Path) -> ProbabilisticEmbeddingRecipe:
    return load_embedding_recipe(folder / "recipe.toml")


def trained(recipe: ProbabilisticEmbeddingRecipe, folder: Path, **loss: Any) -> TrainedEmbedding:
    recipe = dataclasses.replace(recipe, loss=dataclasses.replace(recipe.loss, **loss))
    return train_embedding(recipe, folder / "cache", show_progress=False)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_every_loss_trains_the_last_stages_and_nothing_else(
    recipe: ProbabilisticEmbeddingRecipe, folder: Path, loss: str
) -> None:
    before = {name: value.clone() for name, value in new_embedding(recipe)[0].backbone.state_dict().items()}
    result = trained(recipe, folder, name=loss, temperature=0.1)
    changed = {
        name
        for name, value in result.model.backbone.state_dict().items()
        if not torch.equal(value, before[name])
    }
    modules = tuple(f"{name}." for name in result.cut.trained)
    assert any(name.endswith("conv_pw.weight") or "conv_head" in name for name in changed)
    assert all(name.startswith(modules) for name in changed)
    # Statistics of batch norm stay those of ImageNet; they may only be rounded.
    for name in changed:
        if "running" in name:
            torch.testing.assert_close(
                result.model.backbone.state_dict()[name], before[name], rtol=1e-3, atol=1e-5
            )
    assert result.model.config.class_names == ["ant", "bee", "cat"]
    torch.testing.assert_close(result.model.proxy_directions.norm(dim=1), torch.ones(3), rtol=1e-3, atol=1e-3)
    assert not any(parameter.requires_grad for parameter in result.model.parameters())
    assert not result.model.training


def test_training_learns_its_own_images(recipe: ProbabilisticEmbeddingRecipe, folder: Path) -> None:
    training = dataclasses.replace(recipe.training, epochs=60, learning_rate=1e-3, proxy_factor=10.0)
    loss = dataclasses.replace(recipe.loss, temperature=0.2)
    longer = dataclasses.replace(recipe, training=training, loss=loss)
    result = train_embedding(longer, folder / "cache", show_progress=False)
    maps = labelled_maps(recipe, result.cut, "train", recipe.views, folder / "cache", show_progress=False)
    output = embed_images(result.model, result.cut, maps.cache, maps.images)
    with torch.no_grad():
        logits = result.objective.logits(output.mean_direction, output.concentration)
    assert (logits.argmax(dim=1).numpy() == maps.labels).mean() > 0.9


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    recipe: ProbabilisticEmbeddingRecipe, folder: Path
) -> None:
    first, again, other = (trained(with_seed(recipe, seed), folder).model for seed in (0, 0, 1))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


def test_the_global_random_state_is_left_alone(recipe: ProbabilisticEmbeddingRecipe, folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    trained(recipe, folder)
    assert torch.equal(torch.rand(1), expected)


def test_a_checkpoint_gives_back_the_very_model(
    folder: Path, recipe: ProbabilisticEmbeddingRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained parts are rounded to half precision before anything is measured, so nothing is lost."""
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "cache"))
    train_probabilistic_embedding(folder / "recipe.toml", tmp_path / "model")
    expected = trained(recipe, folder).model
    model = load(tmp_path / "model")
    for name, value in expected.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(pixels).concentration, expected(pixels).concentration)


def test_a_checkpoint_on_another_backbone_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "cache"))
    own = tmp_path / "own"
    own.mkdir()
    write_recipe(own)
    recipe = load_embedding_recipe(own / "recipe.toml")
    save_checkpoint(trained(recipe, own).model, tmp_path / "model", own / "recipe.toml")
    from safetensors.torch import load_file, save_file

    weights = load_file(own / "backbone.safetensors")
    weights["conv_stem.weight"] += 1
    save_file(weights, own / "backbone.safetensors")
    with pytest.raises(CheckpointError, match="are not those that the heads were trained on"):
        load(tmp_path / "model")


def test_the_start_has_the_principal_axes_and_the_wanted_concentration(
    recipe: ProbabilisticEmbeddingRecipe,
) -> None:
    model, _ = new_embedding(recipe)
    pooled = torch.randn(40, model.embedding.in_features) * torch.linspace(
        3, 0.1, model.embedding.in_features
    )
    start_at_principal_axes(model, pooled + 5, concentration=20.0)
    with torch.no_grad():
        embedding = model.embedding(pooled + 5)
    assert float(embedding.norm(dim=1).mean()) == pytest.approx(20, rel=1e-4)
    torch.testing.assert_close(embedding.mean(dim=0), torch.zeros(8), atol=1e-3, rtol=0)
    covariance = embedding.T @ embedding
    torch.testing.assert_close(covariance, torch.diag(covariance.diag()), atol=1e-2, rtol=0)


@pytest.mark.parametrize("count", [3, 40])
def test_fewer_images_than_dimensions_still_make_a_start(
    recipe: ProbabilisticEmbeddingRecipe, count: int
) -> None:
    model, _ = new_embedding(recipe)
    start_at_principal_axes(model, torch.randn(count, model.embedding.in_features), concentration=20.0)
    assert model.embedding.weight.isfinite().all()
    assert torch.linalg.matrix_rank(model.embedding.weight.detach()) == 8


def test_identical_features_are_refused(recipe: ProbabilisticEmbeddingRecipe) -> None:
    model, _ = new_embedding(recipe)
    with pytest.raises(RecipeError, match="all images have the same features"):
        start_at_principal_axes(model, torch.ones(9, model.embedding.in_features), concentration=20.0)


def test_identical_images_are_refused(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, images=2)
    for image in (tmp_path / "images").rglob("*.png"):
        Image.new("RGB", (32, 32), "teal").save(image)
    with pytest.raises(RecipeError, match="all images have the same features"):
        train_embedding(load_embedding_recipe(path), tmp_path / "cache", show_progress=False)


def test_a_class_with_one_image_is_trained_on(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    for image in sorted((tmp_path / "images" / "bee").glob("*.png"))[1:]:
        image.unlink()
    result = train_embedding(load_embedding_recipe(path), tmp_path / "cache", show_progress=False)
    assert result.model.config.class_names == ["ant", "bee", "cat"]
    assert all(value.isfinite().all() for value in result.model.state_dict().values())


def test_images_without_labels_or_of_one_class_are_refused(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    for name in ("ant", "bee"):
        for image in (tmp_path / "images" / name).glob("*.png"):
            image.unlink()
    with pytest.raises(RecipeError, match="all of one class"):
        train_embedding(load_embedding_recipe(path), tmp_path / "cache", show_progress=False)
    for image in (tmp_path / "images" / "cat").glob("*.png"):
        image.rename(tmp_path / "images" / image.name)
    with pytest.raises(RecipeError, match="the images have no labels"):
        train_embedding(load_embedding_recipe(path), tmp_path / "cache", show_progress=False)


def test_a_loss_that_is_not_finite_stops_the_training(
    recipe: ProbabilisticEmbeddingRecipe, folder: Path
) -> None:
    model, cut = new_embedding(recipe)
    maps = labelled_maps(recipe, cut, "train", recipe.views, folder / "cache", show_progress=False)
    batches = class_batches(maps.labels, 6, 2)
    groups = parameter_groups(model, cut, 1e-4, 1.0)
    with pytest.raises(RecipeError, match="the loss became nan in epoch 0"):
        fit_embedding(
            model, cut, maps.cache, batches, lambda m, k, t: m.sum() * float("nan"), groups, epochs=1, seed=0
        )


def test_any_loss_on_any_targets_can_be_fitted(recipe: ProbabilisticEmbeddingRecipe, folder: Path) -> None:
    """The trainer knows nothing of classes: here it draws pairs of images together."""
    model, cut = new_embedding(
        dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, dim=4))
    )
    maps = labelled_maps(recipe, cut, "train", recipe.views, folder / "cache", show_progress=False)

    def pairs(generator: np.random.Generator):
        for _ in range(10):
            yield np.array([0, 5]), {"target": 1.0}

    def loss(mean: torch.Tensor, kappa: torch.Tensor, targets: dict[str, float]) -> torch.Tensor:
        return targets["target"] - mean[0] @ mean[1] + 0 * kappa.sum()

    def cosine() -> float:
        direction = embed_images(model, cut, maps.cache, np.array([0, 5])).mean_direction
        return float(direction[0] @ direction[1])

    start_at_principal_axes(model, embed_images(model, cut, maps.cache, maps.images).pooler_output, 20.0)
    before = cosine()
    fit_embedding(
        model, cut, maps.cache, pairs, loss, parameter_groups(model, cut, 1e-3, 10.0), epochs=3, seed=0
    )
    assert cosine() > before + 0.1


def test_a_part_of_the_classes_can_be_held_out(recipe: ProbabilisticEmbeddingRecipe, folder: Path) -> None:
    model, cut = new_embedding(recipe)
    maps = labelled_maps(recipe, cut, "train", recipe.views, folder / "cache", show_progress=False)
    some = maps.of_classes([2, 0])
    assert some.class_names == ["cat", "ant"]
    assert some.labels.tolist() == [1] * 4 + [0] * 4
    result = train_on_maps(recipe, model, cut, some, show_progress=False)
    assert result.model.config.class_names == ["cat", "ant"]


@pytest.mark.parametrize(("sizes", "per_class"), [([4, 4, 4], 2), ([1, 5, 2], 2), ([3, 3], 4), ([7], 1)])
def test_an_epoch_has_every_image_once_in_groups_of_its_class(sizes: list[int], per_class: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    batches = list(class_batches(labels, 4, per_class)(np.random.default_rng(0)))
    order = np.concatenate([images for images, _ in batches])
    counts = Counter(order.tolist())
    left_out = len(labels) - len(order)
    assert left_out in (0, 1)  # a last batch of one image is no batch
    assert set(counts.values()) == {1}
    for images, targets in batches:
        assert len(images) > 1
        assert targets.tolist() == labels[images].tolist()
    neighbours = sum(labels[a] == labels[b] for a, b in pairwise(order))
    pairs = sum((size // per_class) * (per_class - 1) for size in sizes)
    assert neighbours >= pairs - left_out


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_warm_proxies_lie_at_the_mean_directions_of_their_classes(name: str) -> None:
    torch.manual_seed(0)
    objective = make_objective(ProxyLossRecipe(name=name), 3, 5)
    directions = functional.normalize(torch.randn(8, 5), dim=1)
    labels = torch.tensor([0, 0, 0, 2, 2, 2, 2, 2])
    untouched = objective.proxies()[0][1].clone()
    objective.warm_start(directions, labels)
    proxies, concentrations = objective.proxies()
    torch.testing.assert_close(proxies[0], functional.normalize(directions[:3].sum(0), dim=0))
    torch.testing.assert_close(proxies[2], functional.normalize(directions[3:].sum(0), dim=0))
    torch.testing.assert_close(proxies[1], untouched)
    assert concentrations.shape in ((3, 5), (3, 1))


@pytest.mark.parametrize("name", ["proxy_nca", "cosine_softmax"])
def test_softmax_baselines_are_the_cross_entropy_of_scaled_cosines(name: str) -> None:
    torch.manual_seed(0)
    objective = make_objective(ProxyLossRecipe(name=name, temperature=0.05), 4, 5)
    directions, labels = functional.normalize(torch.randn(7, 5), dim=1), torch.randint(4, (7,))
    expected = functional.cross_entropy(20 * directions @ objective.proxies()[0].T, labels)
    for kappa in (torch.ones(7), torch.rand(7) + 0.5):  # norms mean nothing to them
        torch.testing.assert_close(objective(directions, kappa, labels), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        functional.cross_entropy(objective.logits(directions, torch.ones(7)), labels), expected
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name = "el_nivmf"', 'name = "elnivmf"'), "loss.name is 'elnivmf'; choose from el_nivmf"),
        (("dim = 8", "dim = 1"), "network.dim is 1"),
        (("epochs = 2", "epochs = 0"), "training.epochs is 0; it must be above 0"),
        (("batch_size = 6", "batch_size = 1"), "at least training.images_per_class"),
        (("[loss]", '[loss]\ntemperature_placement = "above"'), "temperature_placement is 'above'"),
        (("[loss]", '[loss]\nnormalizer = "none"'), "normalizer is 'none'; choose from exact"),
        (("[loss]", "[loss]\ntemperature = 0.0"), "loss.temperature is 0.0; it must be above 0"),
        (("[loss]", "[loss]\ntemperatures = 0.1"), "unknown field 'temperatures' in loss"),
        (('task = "probabilistic-embedding"', 'task = "cooking"'), "task is 'cooking'"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, folder: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text((folder / "recipe.toml").read_text().replace(*change))
    with pytest.raises(RecipeError) as error:
        load_embedding_recipe(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
