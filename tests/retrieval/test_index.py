from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_models.errors import GalleryError
from hub_models.retrieval.index import Index, normalised


def unit(count: int, width: int = 8, seed: int = 0) -> np.ndarray:
    return normalised(np.random.default_rng(seed).standard_normal((count, width)))


def brute_force(gallery: np.ndarray, query: np.ndarray, k: int, excluded: int | None = None) -> list[int]:
    similarity = gallery @ (query / np.linalg.norm(query))
    ranked = sorted(range(len(gallery)), key=lambda row: -similarity[row])
    return [row for row in ranked if row != excluded][:k]


@settings(max_examples=50, deadline=None)
@given(count=st.integers(2, 30), k=st.integers(1, 12), seed=st.integers(0, 1000), exclude=st.booleans())
def test_exact_search_is_brute_force(count, k, seed, exclude):
    gallery = unit(count, seed=seed)
    queries = gallery * 3 if exclude else unit(5, seed=seed + 1) * 7
    rows = np.arange(count) if exclude else None
    hits = Index(gallery).search(queries, k, rows)
    assert hits.indices.shape == hits.similarities.shape == (len(queries), min(k, count - exclude))
    for row, query in enumerate(queries):
        assert hits.indices[row].tolist() == brute_force(gallery, query, k, row if exclude else None)
        expected = gallery[hits.indices[row]] @ (query / np.linalg.norm(query))
        np.testing.assert_allclose(hits.similarities[row], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw"])
def test_a_query_is_left_out_by_its_index_though_its_copies_come_first(kind):
    """Five equal images: leaving out the best hit would leave out a copy and keep the query."""
    gallery = np.concatenate([np.repeat(unit(1), 5, axis=0), unit(5, seed=1)])
    hits = Index(gallery, kind).search(gallery[:5], 4, exclude=np.arange(5))
    for row in range(5):
        assert sorted(hits.indices[row]) == sorted(set(range(5)) - {row})


def test_a_gallery_of_one_answers_queries_but_not_its_own_image():
    index = Index(unit(1))
    hits = index.search(unit(2, seed=1), 5)
    assert hits.indices.tolist() == [[0], [0]]
    with pytest.raises(GalleryError, match="holds one image"):
        index.search(unit(1), 1, exclude=np.array([0]))
    assert index.recall() == 1


def test_a_row_of_zeros_is_similar_to_nothing():
    hits = Index(normalised(np.zeros((2, 8)))).search(unit(1), 2)
    assert hits.similarities.tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (np.ones((1, 8)), 0, "k is 0"),
        (np.ones((1, 7)), 1, r"shape \(1, 7\)"),
        (np.ones(8), 1, r"shape \(8,\)"),
        (np.vstack([np.ones(8), np.full(8, np.nan)]), 1, "query 1 holds NaN"),
        (np.full((1, 8), np.inf), 1, "query 0 holds NaN or infinity"),
    ],
)
def test_bad_queries_are_refused(queries, k, message):
    with pytest.raises(GalleryError, match=message):
        Index(unit(3)).search(queries, k)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(GalleryError, match="choose from exact, ivf, hnsw"):
        Index(unit(3), "annoy")


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_recall_is_the_share_of_true_neighbours_found(kind):
    gallery = unit(3000, width=24)
    index = Index(gallery, kind)
    queries = np.sort(np.random.default_rng(0).permutation(3000)[:200])
    found = index.search(gallery[queries], 10, exclude=queries).indices
    shares = [
        len(set(found[i]) & set(brute_force(gallery, gallery[q], 10, q))) / 10 for i, q in enumerate(queries)
    ]
    assert index.recall() == pytest.approx(np.mean(shares), abs=1e-9)
    assert 0.3 < index.recall() < 1.0 if kind == "ivf" else index.recall() > 0.9


@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw"])
@pytest.mark.parametrize("count", [1, 2, 50])
def test_every_kind_works_on_small_galleries(kind, count):
    gallery = unit(count)
    index = Index(gallery, kind)
    assert len(index) == count
    assert index.search(gallery, 1).indices.ravel().tolist() == list(range(count))


def test_an_exhausted_approximate_search_says_so():
    """One probed list of several holds fewer than all images."""
    hits = Index(unit(400), "ivf").search(unit(3, seed=5), 400)
    missing = hits.indices < 0
    assert missing.any()
    assert (hits.similarities[missing] == -np.inf).all()
    assert np.isfinite(hits.similarities[~missing]).all()
