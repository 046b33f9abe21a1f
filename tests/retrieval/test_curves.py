from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hub_models.errors import GalleryError
from hub_models.evaluation.neighbours import found_other_class
from hub_models.retrieval import curves as module
from hub_models.retrieval import plot_curves, retrieval_curves


def labelled_points(count: int, seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    centres = generator.standard_normal((classes, 5))
    return centres[labels] + generator.standard_normal((count, 5)), labels, generator.standard_normal(count)


def recall_by_loops(embeddings, labels, uncertainty, share, applies_to, per_class) -> float:
    kept = set(range(len(labels)))
    for group in sorted(set(labels)) if per_class else [None]:
        members = [i for i in range(len(labels)) if group is None or labels[i] == group]
        members.sort(key=lambda i: -uncertainty[i])
        kept -= set(members[: math.floor(share * len(members) + 1e-9)])
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    correct = []
    for i in range(len(labels)) if applies_to == "gallery" else sorted(kept):
        candidates = [j for j in range(len(labels)) if j != i and (applies_to == "queries" or j in kept)]
        nearest = max(candidates, key=lambda j: unit[i] @ unit[j], default=None)
        correct.append(nearest is not None and labels[nearest] == labels[i])
    return float(np.mean(correct))


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(2, 40),
    seed=st.integers(0, 10_000),
    applies_to=st.sampled_from(["queries", "gallery", "both"]),
    per_class=st.booleans(),
    listed=st.sampled_from([1, 3, 64]),
)
def test_curves_are_those_of_plain_loops(count, seed, applies_to, per_class, listed):
    """``listed`` small makes the search for neighbours that are all left out run, too."""
    embeddings, labels, uncertainty = labelled_points(count, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LISTED", listed)
        curves = retrieval_curves(
            embeddings, labels, {"u": uncertainty}, applies_to=applies_to, per_class=per_class
        )
    expected = [
        recall_by_loops(embeddings, labels, uncertainty, share, applies_to, per_class)
        for share in module.DROPPED
    ]
    np.testing.assert_allclose(curves.recall["u"], expected, atol=1e-12)
    np.testing.assert_allclose(curves.kept, np.linspace(1, 0.5, 11))


def test_with_nothing_left_out_all_curves_start_at_r_at_1():
    embeddings, labels, uncertainty = labelled_points(60, 0)
    curves = retrieval_curves(embeddings, labels, {"u": uncertainty, "entropy": -uncertainty})
    recall = 1 - found_other_class(embeddings, labels).mean()
    for curve in (curves.recall["u"], curves.recall["entropy"], curves.random):
        assert curve[0] == pytest.approx(recall)
    assert curves.random_sd[0] == pytest.approx(0, abs=1e-12)
    assert (curves.random_sd[1:] > 0).all()


def test_a_perfect_uncertainty_rises_to_one_for_queries_while_random_stays():
    embeddings, labels, _ = labelled_points(400, 1)
    wrong = found_other_class(embeddings, labels).astype(float)
    curves = retrieval_curves(embeddings, labels, {"oracle": wrong}, applies_to="queries")
    kept, recall = curves.kept, curves.recall["oracle"]
    np.testing.assert_allclose(recall, np.minimum(1, recall[0] / kept), atol=1e-12)
    assert np.abs(curves.random - recall[0]).max() < 0.05


def test_the_seed_decides_the_random_draws():
    embeddings, labels, uncertainty = labelled_points(50, 2)
    first, second, other = (
        retrieval_curves(embeddings, labels, {"u": uncertainty}, seed=seed).random for seed in (0, 0, 1)
    )
    assert (first == second).all()
    assert (first != other).any()


def test_equal_images_are_no_neighbours_of_themselves():
    """Two equal pairs: each image finds its copy, never itself."""
    embeddings = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    curves = retrieval_curves(embeddings, np.array([0, 1, 0, 1]), {"u": np.arange(4.0)})
    assert curves.recall["u"][0] == 0


@pytest.mark.parametrize(
    ("labels", "uncertainty", "message"),
    [
        (np.zeros(3), np.zeros(4), "labels: needs one finite value"),
        (np.zeros(4), np.array([0, 1, np.nan, 2]), "u: needs one finite value for each of the 4"),
    ],
)
def test_bad_input_is_refused(labels, uncertainty, message):
    with pytest.raises(GalleryError, match=message):
        retrieval_curves(np.eye(4), labels, {"u": uncertainty})


def test_one_image_is_refused():
    with pytest.raises(GalleryError, match="holds one image"):
        retrieval_curves(np.ones((1, 3)), np.zeros(1), {"u": np.zeros(1)})


def test_the_plot_is_a_picture(tmp_path):
    embeddings, labels, uncertainty = labelled_points(50, 3)
    panels = {
        scope: retrieval_curves(
            embeddings, labels, {"u": uncertainty, "entropy": -uncertainty}, applies_to=scope
        )
        for scope in ("queries", "gallery", "both")
    }
    plot_curves(panels, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 2 * picture.height
        assert len(picture.convert("RGB").getcolors(10**6)) > 50
