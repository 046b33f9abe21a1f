"""A gallery of images that answers queries, abstains where it is too uncertain, and draws its map."""

from .abstention import AbstentionPolicy, Neighbour, Neighbours, SafeRetriever, Withheld
from .building import build_gallery
from .cap_search import CapSearch
from .credible import CredibleAnswer, CredibleRetriever, CredibleSet, credible_sets
from .curves import RetrievalCurves, plot_curves, retrieval_curves
from .gallery import Gallery, model_identity
from .index import Hits, Index

__all__ = [
    "AbstentionPolicy",
    "CapSearch",
    "CredibleAnswer",
    "CredibleRetriever",
    "CredibleSet",
    "Gallery",
    "Hits",
    "Index",
    "Neighbour",
    "Neighbours",
    "RetrievalCurves",
    "SafeRetriever",
    "Withheld",
    "build_gallery",
    "credible_sets",
    "model_identity",
    "plot_curves",
    "retrieval_curves",
]
