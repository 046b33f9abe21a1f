"""Nearest neighbours by cosine similarity, with faiss: exact, or approximate by explicit choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from ..errors import GalleryError, MissingExtraError

try:
    import faiss
except ImportError as error:
    raise MissingExtraError("retrieval needs faiss; pip install 'hub-models[retrieval]'") from error

IndexKind = Literal["exact", "ivf", "hnsw"]

CHUNK = 16_384
#: IVF: faiss wants at least this many images for each of its lists. One list in eight is searched.
IMAGES_PER_LIST = 39
PROBED_SHARE = 1 / 8
#: HNSW: links of a node and breadth of the search.
LINKS = 32
SEARCH_BREADTH = 128
RECALL_K = 10
RECALL_QUERIES = 200


@dataclass(frozen=True)
class Hits:
    """Neighbours of Q queries, nearest first.

    Attributes:
        indices: (Q, K) int64 rows of the gallery; -1 where an approximate index found fewer.
        similarities: (Q, K) float32 cosine in [-1, 1], -inf beside an index of -1.
    """

    indices: np.ndarray
    similarities: np.ndarray


class Index:
    """An index over the rows of a gallery.

    Args:
        embeddings: (N, D) float32 of unit length; added in chunks, so a memory-mapped array is fine.
        kind: ``exact`` compares with every image; ``ivf`` (inverted lists) and ``hnsw`` (a graph) are faster
            on hundreds of thousands of images and miss some neighbours: `recall` tells how many.

    Raises:
        GalleryError: an unknown kind.
    """

    def __init__(self, embeddings: np.ndarray, kind: IndexKind = "exact") -> None:
        if kind not in get_args(IndexKind):
            raise GalleryError(
                f"index kind {kind!r} is unknown; choose from {', '.join(get_args(IndexKind))}"
            )
        self.embeddings, self.kind = embeddings, kind
        self._index = _empty_index(embeddings, kind)
        for start in range(0, len(embeddings), CHUNK):
            self._index.add(np.ascontiguousarray(embeddings[start : start + CHUNK], dtype=np.float32))

    @property
    def faiss(self) -> Any:
        """The faiss index behind it."""
        return self._index

    def __len__(self) -> int:
        return len(self.embeddings)

    def search(self, embeddings: np.ndarray, k: int, exclude: np.ndarray | None = None) -> Hits:
        """The ``k`` nearest images of each query, or all there are if fewer.

        Args:
            embeddings: (Q, D), any length: they are normalised here.
            exclude: (Q,) row of the gallery that is the query itself, left out by its index wherever it is
                ranked (with duplicates the query need not be its own nearest neighbour).

        Returns:
            `Hits` with min(k, N) columns, min(k, N - 1) with ``exclude``.

        Raises:
            GalleryError: k below 1, another width, NaN or infinity in a query, or ``exclude`` with a gallery
                of one.
        """
        queries = normalised(self.checked(embeddings))
        available = len(self) - (exclude is not None)
        if k < 1:
            raise GalleryError(f"k is {k}; ask for at least one neighbour")
        if available < 1:
            raise GalleryError(
                "the gallery holds one image, so nothing is left once a query is kept from finding itself; "
                "add images, or query it with others"
            )
        wanted = min(k, available)
        similarities, indices = self._index.search(queries, wanted + (exclude is not None))
        similarities[indices < 0] = -np.inf
        if exclude is None:
            return Hits(indices, similarities)
        # A stable sort: everything but the excluded row, in its order, then the excluded row, which is cut
        # off.
        order = np.argsort(indices == np.asarray(exclude)[:, None], axis=1, kind="stable")[:, :wanted]
        return Hits(np.take_along_axis(indices, order, 1), np.take_along_axis(similarities, order, 1))

    def recall(self, k: int = RECALL_K, queries: int = RECALL_QUERIES, seed: int = 0) -> float:
        """Share of the true k nearest neighbours that the index finds, for a sample of its own images.

        A hit counts if it is as similar as the true k-th neighbour, so equal images do not lower the figure.
        """
        if len(self) < 2 or self.kind == "exact":
            return 1.0
        sample = np.sort(np.random.default_rng(seed).permutation(len(self))[:queries])
        probes = np.ascontiguousarray(self.embeddings[sample])
        found = self.search(probes, k, exclude=sample)
        exact = Index(self.embeddings, "exact").search(probes, k, exclude=sample)
        return float(np.mean(found.similarities >= exact.similarities[:, -1:] - 1e-6))

    def checked(self, embeddings: np.ndarray) -> np.ndarray:
        """Queries (Q, D) as float32.

        Raises:
            GalleryError: another width, NaN or infinity.
        """
        queries = np.asarray(embeddings, dtype=np.float32)
        width = self.embeddings.shape[1]
        if queries.ndim != 2 or queries.shape[1] != width:
            raise GalleryError(
                f"queries of shape {queries.shape}; the gallery needs (queries, {width}): same model?"
            )
        finite = np.isfinite(queries).all(axis=1)
        if not finite.all():
            raise GalleryError(
                f"query {int((~finite).argmax())} holds NaN or infinity; check the image and the model"
            )
        return queries


def normalised(embeddings: np.ndarray) -> np.ndarray:
    """Rows of unit length, float32; a row of zeros stays zero and is similar to nothing."""
    rows = np.asarray(embeddings, dtype=np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _empty_index(embeddings: np.ndarray, kind: IndexKind) -> Any:
    count, width = embeddings.shape
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efSearch = SEARCH_BREADTH
        return graph
    flat = faiss.IndexFlatIP(width)
    if kind == "exact":
        return flat
    lists = max(1, min(round(4 * count**0.5), count // IMAGES_PER_LIST))
    inverted = faiss.IndexIVFFlat(flat, width, lists, faiss.METRIC_INNER_PRODUCT)
    inverted.nprobe = max(1, round(lists * PROBED_SHARE))
    step = max(1, count // (lists * 256))  # faiss uses at most 256 images of each list to find its centre
    inverted.train(np.ascontiguousarray(embeddings[::step], dtype=np.float32))
    return inverted
