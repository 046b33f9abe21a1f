"""Credible retrieval: every image whose latent lies in the query's credible region.

After MCInfoNCE (Kirchhof et al., ICML 2023). The posterior of a query's latent is a von Mises-Fisher distribution;
its smallest region of a given probability is a cap around the mean direction. If the posterior is right, the region
holds the latent with just that probability, so a set of images gathered this way keeps its promise whatever the
query: a clear image gets a small set, an ambiguous one a large set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..credible_cap import cap_share, cosine_quantile
from ..errors import DistributionError, GalleryError
from ..prediction import Prediction
from .abstention import Neighbour, neighbour_of
from .cap_search import CapSearch
from .gallery import Gallery
from .index import Index


@dataclass(frozen=True)
class CredibleSet:
    """The images of a gallery within a credible region.

    Attributes:
        rows: (M,) of the gallery, nearest first; none where the region holds no image.
        similarities: (M,) cosine to the query's mean direction.
        cosine: edge of the region: its latents are at least as similar as this.
        share: of the whole sphere that the region covers, in [0, 1].
    """

    rows: np.ndarray
    similarities: np.ndarray
    cosine: float
    share: float

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class CredibleAnswer:
    """A query with its credible set."""

    query: Prediction
    found: CredibleSet


def credible_sets(
    search: CapSearch, directions: np.ndarray, concentrations: np.ndarray, level: float
) -> Iterator[CredibleSet]:
    """The credible set of each query, one after the other: a set can be as large as the gallery.

    Args:
        directions: (Q, D) mean directions, any length above 0.
        concentrations: (Q,) kappa of each query's posterior.
        level: probability of the regions, in (0, 1).

    Raises:
        GalleryError: a level outside (0, 1), a concentration that is negative, infinite or NaN, or a direction that
            does not fit the gallery.
    """
    dim = search.index.embeddings.shape[1]
    if len(concentrations) != len(directions):
        raise GalleryError(f"{len(directions)} directions, but {len(concentrations)} concentrations")
    try:
        edges = cosine_quantile(torch.as_tensor(np.asarray(concentrations, dtype=np.float64)), dim, level)
    except DistributionError as error:
        raise GalleryError(f"no credible region: {error}") from error
    for direction, cosine, share in zip(
        directions, edges.tolist(), cap_share(edges, dim).tolist(), strict=True
    ):
        yield CredibleSet(*search.search(direction, cosine), cosine, share)


class CredibleRetriever:
    """A gallery of a probabilistic embedding that answers with credible sets.

    Args:
        gallery: its embeddings are mean directions.
        index: over them, such as ``gallery.index()``; sets are exact whatever its kind.
        level: probability that a query's region holds its latent, in (0, 1).

    Raises:
        GalleryError: a level outside (0, 1).
    """

    def __init__(self, gallery: Gallery, index: Index, level: float = 0.95) -> None:
        if not 0 < level < 1:
            raise GalleryError(f"the credible level is {level}; give a share between 0 and 1, such as 0.95")
        self.gallery, self.level = gallery, level
        self._search = CapSearch(index)

    def query(self, queries: Sequence[Prediction]) -> Iterator[CredibleAnswer]:
        """The credible set of each query.

        Args:
            queries: as `hub_models.prediction.predict` gives them, by the model of the gallery.

        Raises:
            GalleryError: the model gives no concentration, so that a query has no posterior; or as `credible_sets`.
        """
        for query in queries:
            if query.concentration is None:
                raise GalleryError(
                    f"model {self.gallery.model!r} gives no concentration, so its images have no credible regions; "
                    "use a probabilistic embedding, such as nivmf-cub"
                )
            concentration = np.array([query.concentration])
            [found] = credible_sets(self._search, query.embedding[None], concentration, self.level)
            yield CredibleAnswer(query, found)

    def neighbours(self, found: CredibleSet, most: int) -> list[Neighbour]:
        """The nearest images of a set, at most so many, with their names and classes."""
        pairs = zip(found.rows[:most].tolist(), found.similarities[:most].tolist(), strict=True)
        return [neighbour_of(self.gallery, item, similarity) for item, similarity in pairs]
