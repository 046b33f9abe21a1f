"""A gallery of images that answers queries, abstains where it is too uncertain, and draws its map."""

from .abstention import AbstentionPolicy, Neighbour, Neighbours, SafeRetriever, Withheld
from .building import build_gallery
from .curves import RetrievalCurves, plot_curves, retrieval_curves
from .gallery import Gallery, model_identity
from .index import Hits, Index

__all__ = [
    "AbstentionPolicy",
    "Gallery",
    "Hits",
    "Index",
    "Neighbour",
    "Neighbours",
    "RetrievalCurves",
    "SafeRetriever",
    "Withheld",
    "build_gallery",
    "model_identity",
    "plot_curves",
    "retrieval_curves",
]
