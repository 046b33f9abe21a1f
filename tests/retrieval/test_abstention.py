from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_models.errors import GalleryError
from hub_models.prediction import Prediction
from hub_models.retrieval import AbstentionPolicy, Index, SafeRetriever
from hub_models.retrieval.abstention import quantile

from .conftest import random_gallery


def queries_of(count: int, seed: int = 0, width: int = 6) -> list[Prediction]:
    generator = np.random.default_rng(seed + 10_000)
    return [
        Prediction(
            name=f"query {i}",
            uncertainty=float(generator.standard_normal()),
            percentile=float(generator.random()),
            outside_reference=False,
            uncertainties={},
            label=None,
            probability=None,
            entropy=None,
            embedding=generator.standard_normal(width).astype(np.float32),
        )
        for i in range(count)
    ]


def limit_by_counting(values: list[float], level: float) -> float:
    """The smallest value that at least ``level`` of all do not exceed."""
    return min(v for v in values if sum(w <= v for w in values) >= level * len(values) - 1e-9)


@given(
    values=st.lists(st.floats(-100, 100), min_size=1, max_size=30),
    level=st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0]),
)
def test_quantile_withholds_at_most_the_rest(values, level):
    limit = quantile(np.array(values), level)
    assert limit == limit_by_counting(values, level)
    assert sum(v > limit for v in values) <= (1 - level) * len(values) + 1e-9


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    level=st.sampled_from([0.2, 0.5, 0.9, 1.0]),
    yardstick=st.sampled_from(["reference", "gallery", "class"]),
    applies_to=st.sampled_from(["queries", "gallery", "both"]),
    k=st.integers(1, 8),
    leave_one_out=st.booleans(),
)
def test_answers_are_those_of_a_plain_loop(seed, level, yardstick, applies_to, k, leave_one_out):
    gallery = random_gallery(25, classes=3, seed=seed)
    queries = queries_of(4, seed)
    exclude = [3, 1, 4, 1] if leave_one_out else None
    policy = AbstentionPolicy(level, yardstick, applies_to)
    answers = SafeRetriever(gallery, Index(gallery.embeddings), policy).query(queries, k, exclude)

    def too_uncertain(image: Prediction | int, label: int) -> bool:
        of_query = isinstance(image, Prediction)
        if yardstick == "reference":
            return (image.percentile if of_query else float(gallery.percentiles[image])) > level
        of_class = [
            float(u)
            for u, other in zip(gallery.uncertainty, gallery.labels, strict=True)
            if yardstick == "gallery" or other == label
        ]
        value = image.uncertainty if of_query else float(gallery.uncertainty[image])
        return value > limit_by_counting(of_class, level)

    for row, (query, answer) in enumerate(zip(queries, answers, strict=True)):
        similarity = gallery.embeddings @ (query.embedding / np.linalg.norm(query.embedding))
        ranked = [i for i in np.argsort(-similarity) if exclude is None or i != exclude[row]]
        assert answer.query is query
        if applies_to != "gallery" and too_uncertain(query, gallery.labels[ranked[0]]):
            assert answer.abstained
            assert answer.neighbours == ()
            assert [w.neighbour.item for w in answer.withheld] == ranked[:k]
            continue
        assert answer.abstained is None
        dropped = [i for i in ranked if applies_to != "queries" and too_uncertain(int(i), gallery.labels[i])]
        kept = [i for i in ranked if i not in dropped][:k]
        assert [n.item for n in answer.neighbours] == kept
        last = ranked.index(kept[-1]) if len(kept) == k else len(ranked)
        assert [w.neighbour.item for w in answer.withheld] == [i for i in ranked[:last] if i in dropped]
        for neighbour in answer.neighbours:
            assert neighbour.name == gallery.names[neighbour.item]
            assert neighbour.similarity == pytest.approx(similarity[neighbour.item], abs=1e-5)
            assert neighbour.class_name == gallery.class_name(neighbour.item)
            assert neighbour.uncertainty == gallery.uncertainty[neighbour.item]
            assert neighbour.percentile == gallery.percentiles[neighbour.item]


def test_reasons_are_for_people():
    gallery = dataclasses.replace(
        random_gallery(4, classes=1),
        uncertainty=np.array([1, 2, 3, 4], dtype=np.float32),
        percentiles=np.array([0.1, 0.2, 0.3, 0.956], dtype=np.float32),
    )
    query = dataclasses.replace(queries_of(1)[0], uncertainty=9.0, percentile=0.973)

    def ask(**policy):
        return SafeRetriever(gallery, gallery.index(), AbstentionPolicy(**policy)).query([query], k=4)[0]

    assert (
        ask(applies_to="queries").abstained == "more uncertain than 97.3% of the reference images (limit 90%)"
    )
    assert ask(applies_to="gallery").withheld[0].reason == (
        "more uncertain than 95.6% of the reference images (limit 90%)"
    )
    assert ask(yardstick="gallery", level=0.75, applies_to="gallery").withheld[0].reason == (
        "uncertainty 4 is above 3, which 75% of the gallery do not exceed"
    )
    assert ask(yardstick="class", level=0.75).abstained == (
        "uncertainty 9 is above 3, which 75% of class 'class 0' do not exceed"
    )


def test_a_gallery_of_one_answers_with_what_it_has():
    gallery = random_gallery(1)
    answer = SafeRetriever(gallery, gallery.index(), AbstentionPolicy(level=1.0)).query(queries_of(1), k=5)[0]
    assert [n.name for n in answer.neighbours] == ["0.png"]
    with pytest.raises(GalleryError, match="holds one image"):
        SafeRetriever(gallery, gallery.index(), AbstentionPolicy()).query(queries_of(1), exclude=[0])


def test_many_queries_are_answered_in_parts():
    gallery = random_gallery(10)
    retriever = SafeRetriever(gallery, gallery.index(), AbstentionPolicy(level=1.0))
    queries = queries_of(150)
    together, alone = retriever.query(queries), [retriever.query([q])[0] for q in queries]
    assert [[n.item for n in a.neighbours] for a in together] == [
        [n.item for n in a.neighbours] for a in alone
    ]
    assert retriever.query([]) == []


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_approximate_index_that_runs_out_ends_the_search(kind):
    gallery = random_gallery(400)
    gallery = dataclasses.replace(gallery, percentiles=np.ones(400, dtype=np.float32))
    policy = AbstentionPolicy(applies_to="gallery")
    answer = SafeRetriever(gallery, Index(gallery.embeddings, kind), policy).query(queries_of(1), k=3)[0]
    assert answer.neighbours == ()
    assert len(answer.withheld) > 3


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"level": 0}, "level is 0"),
        ({"level": 1.5}, "level is 1.5"),
        ({"level": float("nan")}, "level is nan"),
        ({"yardstick": "photos"}, "choose from reference, gallery, class"),
        ({"applies_to": "all"}, "choose from queries, gallery, both"),
    ],
)
def test_bad_policies_are_refused(policy, message):
    with pytest.raises(GalleryError, match=message):
        AbstentionPolicy(**policy)


def test_a_gallery_that_lacks_what_the_policy_needs_is_refused():
    gallery = random_gallery(3)
    with pytest.raises(GalleryError, match="no labels"):
        SafeRetriever(gallery, gallery.index(), AbstentionPolicy(yardstick="class"))
    without = dataclasses.replace(gallery, percentiles=None)
    with pytest.raises(GalleryError, match="no reference; run `hub-models recalibrate`"):
        SafeRetriever(without, without.index(), AbstentionPolicy())
    query = dataclasses.replace(queries_of(1)[0], percentile=None)
    with pytest.raises(GalleryError, match="query 0: has no percentile"):
        SafeRetriever(gallery, gallery.index(), AbstentionPolicy()).query([query])
