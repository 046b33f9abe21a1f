from __future__ import annotations

import numpy as np

from hub_models.evaluation import neighbours
from hub_models.evaluation.neighbours import found_other_class, nearest_other


def brute_force(embeddings: np.ndarray) -> list[int]:
    nearest = []
    for i, query in enumerate(embeddings):
        similarity = [
            -np.inf if j == i else query @ other / (np.linalg.norm(query) * np.linalg.norm(other))
            for j, other in enumerate(embeddings)
        ]
        nearest.append(int(np.argmax(similarity)))
    return nearest


def test_nearest_other_equals_a_double_loop(monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", 7)  # several blocks, the last one short
    embeddings = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    indices, similarities = nearest_other(embeddings)
    assert indices.tolist() == brute_force(embeddings)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(similarities, (unit * unit[indices]).sum(axis=1), rtol=1e-5)


def test_duplicates_never_return_the_item_itself() -> None:
    embeddings = np.repeat(np.eye(3, dtype=np.float32), 2, axis=0)
    assert nearest_other(embeddings)[0].tolist() == [1, 0, 3, 2, 5, 4]


def test_length_does_not_matter_and_zero_vectors_do_not_break_it() -> None:
    embeddings = np.array([[1.0, 0.1], [100.0, 11.0], [0.0, 0.0], [-1.0, 0.2]], dtype=np.float32)
    indices, similarities = nearest_other(embeddings)
    assert indices[0] == 1
    assert indices[1] == 0
    assert np.isfinite(similarities).all()


def test_failures_are_neighbours_of_another_label() -> None:
    embeddings = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], dtype=np.float32)
    assert found_other_class(embeddings, np.array([0, 0, 1, 2])).tolist() == [False, False, True, True]
