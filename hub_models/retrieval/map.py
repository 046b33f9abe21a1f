"""An uncertainty-aware map of a gallery: similar images lie together, certain ones stand out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..errors import GalleryError, MissingExtraError
from .gallery import Gallery

#: t-SNE of more takes many minutes, and a page of more is slow to draw.
MAX_POINTS = 5_000
MIN_POINTS = 3
#: t-SNE sees this many principal components, which keeps nearly all of the distances and saves most of the
#: time.
COMPONENTS = 50
PERPLEXITY = 30
#: Diameter in pixels and opacity, from the least to the most certain image.
DIAMETERS = (5.0, 16.0)
OPACITIES = (0.3, 0.9)
#: What the legend shows of them.
CERTAINTIES = {"most certain": 1.0, "middle": 0.5, "least certain": 0.0}

Certainty = TypeVar("Certainty", float, np.ndarray)
#: Colours of Okabe and Ito, told apart by colour-blind people; yellow is left out, as it fades on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
OTHER = "#B8B8B8"


@dataclass(frozen=True)
class Group:
    """Points of one colour: a class, all classes without a colour of their own, or all images."""

    name: str
    colour: str
    points: np.ndarray


@dataclass(frozen=True)
class GalleryMap:
    """Where the images lie on the map.

    Attributes:
        gallery: what is shown.
        items: (n,) rows of the gallery, all of them or a sample.
        positions: (n, 2).
        certainty: (n,) 1 for the most certain image on the map, 0 for the least, by rank.
        groups: the points by class, the most frequent classes first.
    """

    gallery: Gallery
    items: np.ndarray
    positions: np.ndarray
    certainty: np.ndarray
    groups: list[Group]

    @property
    def note(self) -> str:
        """How many images are shown, and whether that is all of them."""
        shown, total = len(self.items), len(self.gallery)
        return f"{total:,} images" if shown == total else f"a random sample of {shown:,} of {total:,} images"


def lay_out(gallery: Gallery, seed: int = 0) -> GalleryMap:
    """Place the images by t-SNE of their embeddings (van der Maaten and Hinton, 2008).

    Of a larger gallery, ``MAX_POINTS`` images are drawn; the same seed gives the same map.

    Raises:
        GalleryError: fewer than ``MIN_POINTS`` images.
    """
    if len(gallery) < MIN_POINTS:
        raise GalleryError(
            f"a map needs at least {MIN_POINTS} images, the gallery has {len(gallery)}; add some"
        )
    generator = np.random.default_rng(seed)
    items = np.sort(generator.permutation(len(gallery))[:MAX_POINTS])
    uncertainty = np.asarray(gallery.uncertainty[items])
    return GalleryMap(
        gallery=gallery,
        items=items,
        positions=_positions(np.asarray(gallery.embeddings[items]), seed),
        certainty=_certainty(uncertainty),
        groups=groups_by_class(gallery, items),
    )


def between(limits: tuple[float, float], certainty: Certainty) -> Certainty:
    """A diameter or an opacity for each certainty in [0, 1]."""
    return limits[0] + (limits[1] - limits[0]) * certainty


def _positions(embeddings: np.ndarray, seed: int) -> np.ndarray:
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingExtraError("maps need scikit-learn; pip install 'hub-models[plots]'") from error

    if np.ptp(embeddings, axis=0).max() < 1e-6:  # all the same: a cloud, for want of any direction
        return np.random.default_rng(seed).standard_normal((len(embeddings), 2))
    reduced = PCA(min(COMPONENTS, *embeddings.shape), random_state=seed).fit_transform(embeddings)
    perplexity = min(PERPLEXITY, (len(embeddings) - 1) / 3)
    # Its threads wait for each other at every step: on a busy machine one alone is ten times as fast.
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)


def _certainty(uncertainty: np.ndarray) -> np.ndarray:
    """By rank, equal uncertainties alike: raw values have no unit, and their outliers would hide all else."""
    ordered = np.sort(uncertainty)
    middle = (
        np.searchsorted(ordered, uncertainty, "left") + np.searchsorted(ordered, uncertainty, "right") - 1
    ) / 2
    return 1 - middle / (len(uncertainty) - 1)


def groups_by_class(gallery: Gallery, items: np.ndarray) -> list[Group]:
    """Points of the map, one for each row of ``items``, by class; the most frequent get their own colour."""
    if gallery.labels is None:
        return [Group("images", COLOURS[0], np.arange(len(items)))]
    labels = gallery.labels[items]
    present, counts = np.unique(labels, return_counts=True)
    by_size = present[np.argsort(-counts, kind="stable")]
    coloured = by_size if len(by_size) <= len(COLOURS) else by_size[: len(COLOURS)]
    groups = []
    for label, colour in zip(coloured, COLOURS, strict=False):
        points = np.flatnonzero(labels == label)
        groups.append(Group(str(gallery.class_name(items[points[0]])), colour, points))
    others = np.flatnonzero(~np.isin(labels, coloured))
    if len(others):
        count = len(by_size) - len(coloured)
        groups.append(Group(f"{count} other class{'es' if count > 1 else ''}", OTHER, others))
    return groups
