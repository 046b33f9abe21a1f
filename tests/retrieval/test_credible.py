from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from hub_models import zoo
from hub_models.credible_cap import cap_share, cosine_quantile
from hub_models.errors import GalleryError
from hub_models.image_sources import FolderSource
from hub_models.prediction import Prediction, Skipped, predict
from hub_models.retrieval import (
    CapSearch,
    CredibleRetriever,
    Gallery,
    Index,
    build_gallery,
    cap_search,
    credible_sets,
)
from hub_models.retrieval.index import IndexKind, normalised
from hub_models.von_mises_fisher import sample

from ..generated_images import write_images
from ..tiny_embedding import tiny_embedding_checkpoint

KINDS: list[IndexKind] = ["exact", "ivf", "hnsw"]


def scattered(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """Clusters, directions all over the sphere, copies, and two rows of zeros."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((8, dim))
    clustered = centres[generator.integers(0, 8, count)] + 0.1 * generator.standard_normal((count, dim))
    parts = [clustered, generator.standard_normal((count // 4, dim)), np.zeros((2, dim)), clustered[:5]]
    return normalised(np.concatenate(parts))


def cosines(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """In float64; NaN for a row of zeros."""
    rows, unit = rows.astype(np.float64), normalised(query[None])[0].astype(np.float64)
    with np.errstate(invalid="ignore"):
        return rows @ unit / (np.linalg.norm(rows, axis=1) * np.linalg.norm(unit))


def in_cap(rows: np.ndarray, query: np.ndarray, cosine: float, slack: float = 0.0) -> set[int]:
    return set(np.flatnonzero(cosines(rows, query) >= cosine - slack).tolist())


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    dim=st.sampled_from([2, 3, 32]),
    seed=st.integers(0, 1000),
    cosine=st.one_of(st.floats(-1, 1), st.sampled_from([-1.0, 0.0, 1.0, 1 - 1e-7, 1 - 1e-10])),
)
def test_a_cap_holds_just_the_rows_of_brute_force(kind, dim, seed, cosine):
    rows = scattered(400, dim, seed)
    query = rows[seed % 400] * 3 if seed % 2 else np.random.default_rng(seed).standard_normal(dim)
    found, similarities = CapSearch(Index(rows, kind)).search(query, cosine)
    assert len(set(found.tolist())) == len(found)
    # Equal but where an edge is nearer than float64 can tell.
    assert in_cap(rows, query, cosine, -1e-14) <= set(found.tolist()) <= in_cap(rows, query, cosine, 1e-14)
    assert (np.diff(similarities) <= 0).all()
    np.testing.assert_allclose(similarities, cosines(rows, query)[found], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_found_together_in_the_order_of_the_gallery(kind):
    rows = np.concatenate([np.repeat(scattered(1, 6)[:1], 50, axis=0), scattered(200, 6, seed=3)])
    found, _ = CapSearch(Index(rows, kind)).search(rows[7], 1 - 1e-9)
    assert found.tolist() == [*range(50)]


def test_lists_are_read_as_numpy_where_faiss_was_taught_torch():
    """pytorch-metric-learning imports faiss.contrib.torch_utils, after which faiss answers with tensors."""
    code = """
import faiss.contrib.torch_utils
import numpy as np
from hub_models.retrieval import CapSearch, Index
rows = np.eye(6, dtype=np.float32).repeat(50, axis=0)
print(CapSearch(Index(rows, "ivf")).search(rows[7], 0.9)[0].tolist() == list(range(50)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr[-2000:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_zeros_is_in_no_cap(kind):
    rows = normalised(np.zeros((60, 4)))
    assert len(CapSearch(Index(rows, kind)).search(np.ones(4), -1.0)[0]) == 0
    rows[3] = [0, 0, 1, 0]
    assert CapSearch(Index(rows, kind)).search(np.ones(4), -1.0)[0].tolist() == [3]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cap_may_be_empty(kind):
    rows = normalised(np.array([[1.0, 0.1, 0], [1, 0, 0.1]]))
    found, similarities = CapSearch(Index(rows, kind)).search(np.array([-1.0, 0, 0]), 0.5)
    assert len(found) == len(similarities) == 0


def test_lists_that_cannot_reach_the_cap_are_left_out(monkeypatch):
    """The bound is at work: of clustered rows a small cap needs few lists, a large one all."""
    rows = scattered(2000, 16)
    search = CapSearch(Index(rows, "ivf"))
    read: list[int] = []
    original = cap_search._Lists._rows
    monkeypatch.setattr(
        cap_search._Lists, "_rows", lambda self, number: (read.append(number), original(self, number))[1]
    )
    search.search(rows[0], 0.99)
    assert len(read) < 0.4 * search.index.faiss.nlist
    read.clear()
    search.search(rows[0], -1.0)
    assert len(read) > 0.9 * search.index.faiss.nlist


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        (np.zeros(6), "zero vector"),
        (np.ones(5), r"shape \(1, 5\)"),
        (np.full(6, np.nan), "NaN or infinity"),
        (np.full(6, np.inf), "NaN or infinity"),
    ],
)
def test_queries_that_point_nowhere_are_refused(direction, message):
    with pytest.raises(GalleryError, match=message):
        CapSearch(Index(scattered(20, 6))).search(direction, 0.5)


@pytest.mark.parametrize("dim", [2, 10])
def test_under_the_true_posterior_sets_hold_the_latent_as_often_as_promised(dim):
    """Each query's latent, drawn from its posterior, is a row of the gallery among many others."""
    count, generator = 3000, torch.Generator().manual_seed(dim)
    mean = normalize(torch.randn(count, dim, generator=generator, dtype=torch.float64), dim=-1)
    kappa = 2.0 + 60 * torch.rand(count, generator=generator, dtype=torch.float64)
    latent = sample(mean, kappa, 1, generator)[0].float().numpy()
    search = CapSearch(Index(normalised(latent)))
    for level in (0.5, 0.8, 0.95, 0.99):
        sets = credible_sets(search, mean.numpy(), kappa.numpy(), level)
        held = np.mean([row in found.rows for row, found in enumerate(sets)])
        assert abs(held - level) < min(0.02, 4.5 * math.sqrt(level * (1 - level) / count))


def test_a_set_says_where_its_edge_is_and_what_share_of_the_sphere_it_covers():
    rows = scattered(300, 5)
    kappa = np.array([0.0, 1e-3, 1.0, 50.0, 1e6])
    sets = list(credible_sets(CapSearch(Index(rows)), rows[:5], kappa, 0.9))
    edges = cosine_quantile(torch.from_numpy(kappa), 5, 0.9)
    assert [found.cosine for found in sets] == edges.tolist()
    assert [found.share for found in sets] == cap_share(edges, 5).tolist()
    sizes = [len(found) for found in sets]
    assert sizes == sorted(sizes, reverse=True)
    assert sets[0].share == pytest.approx(0.9)
    # The surest query still finds itself and its copy, which lies at row 377.
    assert sets[4].rows.tolist() == [4, 381] or 4 in sets[4].rows


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_concentrations_without_a_region_are_refused(bad):
    with pytest.raises(GalleryError, match="no credible region: a concentration"):
        list(credible_sets(CapSearch(Index(scattered(20, 6))), np.ones((1, 6)), np.array([bad]), 0.9))


def test_directions_and_concentrations_must_be_as_many():
    with pytest.raises(GalleryError, match="2 directions, but 1 concentrations"):
        list(credible_sets(CapSearch(Index(scattered(20, 6))), np.ones((2, 6)), np.ones(1), 0.9))


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gallery, list[Prediction]]:
    """A gallery that a probabilistic embedding made of images, one of them unreadable, and these images."""
    root = tmp_path_factory.mktemp("embedded")
    photos = write_images(root / "photos", 5, ("heron", "stork"))
    (photos / "heron" / "0003.png").write_bytes(b"not an image")
    checkpoint = tiny_embedding_checkpoint(root)
    model, processor = zoo.load(checkpoint), zoo.load_image_processor(checkpoint)
    source = FolderSource(photos)
    gallery = build_gallery(
        model, processor, source, root / "gallery", model_name="tiny", show_progress=False
    )
    seen = [each for each in predict(model, processor, source) if not isinstance(each, Skipped)]
    gallery.require_model(model, processor)
    return gallery, seen


def test_a_gallery_of_a_probabilistic_embedding_holds_mean_directions(embedded):
    gallery, seen = embedded
    assert gallery.embeddings.shape == (9, 8)
    assert list(gallery.skipped) == ["heron/0003.png"]
    np.testing.assert_allclose(gallery.embeddings, [each.embedding for each in seen], atol=1e-6)
    np.testing.assert_allclose(gallery.uncertainty, [1 / each.concentration for each in seen], rtol=1e-5)


def test_answers_come_with_names_and_classes(embedded):
    gallery, seen = embedded
    retriever = CredibleRetriever(gallery, gallery.index(), 0.95)
    for row, answer in enumerate(retriever.query(seen)):
        assert answer.query is seen[row]
        assert row in answer.found.rows
        [first, *_] = retriever.neighbours(answer.found, 3)
        assert first.similarity == pytest.approx(1, abs=1e-5)
        assert first.name in gallery.names
        assert first.class_name == first.name.split("/")[0]


def test_a_query_without_concentration_is_refused(embedded):
    gallery, _ = embedded
    plain = Prediction("a.png", 0.1, 0.5, False, {}, None, None, None, np.ones(8, dtype=np.float32))
    with pytest.raises(
        GalleryError, match="'tiny' gives no concentration, so its images have no credible regions"
    ):
        list(CredibleRetriever(gallery, gallery.index()).query([plain]))


@pytest.mark.parametrize("level", [0.0, 1.0, 95, -0.5, float("nan")])
def test_levels_outside_the_domain_are_refused(embedded, level):
    gallery, _ = embedded
    with pytest.raises(GalleryError, match="credible level is"):
        CredibleRetriever(gallery, gallery.index(), level)
