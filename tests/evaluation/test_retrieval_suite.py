from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_models.errors import EvaluationError
from hub_models.evaluation.neighbours import average_precision_at_r
from hub_models.evaluation.retrieval_suite import EmbeddedImages, embed, retrieval_figures, retrieval_suite
from hub_models.training.recipe_probabilistic_embedding import load_embedding_recipe
from hub_models.training.train_probabilistic_embedding import (
    LabelledMaps,
    labelled_maps,
    train_embedding,
    train_probabilistic_embedding,
)
from hub_models.training.views import Views

from ..training.tiny_embeddings import write_recipe


def precision_by_hand(embeddings: np.ndarray, labels: np.ndarray, query: int) -> float:
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    others = [i for i in range(len(labels)) if i != query]
    ranked = sorted(others, key=lambda i: -float(unit[i] @ unit[query]))
    wanted = sum(labels[i] == labels[query] for i in others)
    total = 0.0
    for place in range(1, wanted + 1):
        if labels[ranked[place - 1]] == labels[query]:
            total += sum(labels[i] == labels[query] for i in ranked[:place]) / place
    return total / wanted if wanted else float("nan")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(2, 30), classes=st.integers(1, 8))
def test_average_precision_is_that_of_a_plain_loop(seed: int, count: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    embeddings = generator.normal(size=(count, 3)).astype(np.float32)
    labels = generator.integers(classes, size=count)
    expected = [precision_by_hand(embeddings, labels, query) for query in range(count)]
    np.testing.assert_allclose(average_precision_at_r(embeddings, labels), expected, rtol=1e-6)


def test_average_precision_agrees_with_pytorch_metric_learning() -> None:
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), [2, 3, 6, 9, 10])
    embeddings = generator.normal(size=(5, 4))[labels] + generator.normal(size=(30, 4))
    embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    expected = AccuracyCalculator(include=("mean_average_precision_at_r",), k="max_bin_count").get_accuracy(
        embeddings, labels
    )["mean_average_precision_at_r"]
    assert average_precision_at_r(embeddings, labels).mean() == pytest.approx(expected, abs=1e-6)


def test_identical_embeddings_find_by_chance_and_order_nothing() -> None:
    labels = np.repeat(np.arange(4), 5)
    images = EmbeddedImages(np.ones((20, 3)), labels, {"uncertainty": np.ones(20)})
    found = {(metric, name): figure for metric, name, figure in retrieval_figures(images)}
    assert found["r-auroc", "uncertainty"].value == 0.5
    assert 0 <= found["r@1", ""].value < 1


def test_a_known_arrangement_has_known_figures() -> None:
    """Two tight classes, and one image that lies in the wrong one, of which the model is least sure."""
    angles = np.radians([0, 1, 2, 90, 91, 92, 1.5])
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    uncertainty = np.array([0.1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.9])
    found = {
        (metric, name): figure
        for metric, name, figure in retrieval_figures(
            EmbeddedImages(directions, labels, {"uncertainty": uncertainty})
        )
    }
    wrong = 3  # the stray image, and the two of the first class that it is nearest to
    assert found["r@1", ""].value == pytest.approx(1 - wrong / 7)
    assert found["r@1", ""].low <= found["r@1", ""].value <= found["r@1", ""].high
    assert found["r@1", ""].n == 7
    assert found["r-auroc", "uncertainty"].value > 0.5


def test_nothing_to_find_is_refused() -> None:
    with pytest.raises(EvaluationError, match="no class has two images"):
        list(retrieval_figures(EmbeddedImages(np.ones((0, 3)), np.ones(0), {})))


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("retrieval"), images=5)


def test_images_alone_in_their_class_are_left_out(recipe_path: Path) -> None:
    recipe, root = load_embedding_recipe(recipe_path), recipe_path.parent / "cache"
    trained = train_embedding(recipe, root, show_progress=False)
    maps = labelled_maps(recipe, trained.cut, "test", Views(), root, show_progress=False)
    some = np.array([0, 1, 5, 10, 11])
    alone = LabelledMaps(maps.cache, maps.images[some], maps.labels[some], maps.class_names)
    images = embed(trained.model, trained.cut, alone)
    assert images.labels.tolist() == [0, 0, 2, 2]
    assert set(images.uncertainties) == {"uncertainty", "max_cosine", "entropy"}
    np.testing.assert_allclose(np.linalg.norm(images.directions, axis=1), 1, rtol=1e-5)


def test_the_suite_measures_the_checkpoint_and_other_seeds(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "cache"))
    train_probabilistic_embedding(recipe_path, tmp_path / "tiny")
    first, second = retrieval_suite(tmp_path / "tiny", 2, "a command")
    assert [line.seed for line in first] == [0] * 5
    assert [line.seed for line in second] == [1] * 5
    assert first[0].revision != second[0].revision
    assert {(line.metric, line.read_out) for line in first} == {
        ("r@1", ""),
        ("map@r", ""),
        ("r-auroc", "uncertainty"),
        ("r-auroc", "max_cosine"),
        ("r-auroc", "entropy"),
    }
    assert all(line.low <= line.value <= line.high for line in first)
