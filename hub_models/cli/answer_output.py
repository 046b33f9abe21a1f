"""What `hub-models retrieve` answers, as records for JSON and as lines for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ..modeling_probabilistic_embedding import ProbabilisticEmbeddingModel
from ..prediction import ImageModel, Prediction
from ..retrieval import (
    AbstentionPolicy,
    CredibleRetriever,
    Gallery,
    Neighbour,
    Neighbours,
    SafeRetriever,
)
from ..retrieval.abstention import Yardstick
from .prediction_output import as_record


@dataclass(frozen=True)
class Answering:
    """One way to answer queries.

    Attributes:
        settings: what it was asked for, in plain Python.
        record: the answer to a query in plain Python.
        show: prints the answer for a person.
    """

    settings: dict[str, Any]
    record: Callable[[Prediction], dict[str, Any]]
    show: Callable[[Prediction], None]


def abstaining(gallery: Gallery, model: ImageModel, k: int, level: float, per_class: bool) -> Answering:
    """The k nearest images, without what is too uncertain.

    Raises:
        GalleryError: a level outside its range, or the gallery lacks what it is measured by.
    """
    # A probabilistic embedding stores no reference images; the gallery stands in for them.
    of_all: Yardstick = "gallery" if isinstance(model, ProbabilisticEmbeddingModel) else "reference"
    policy = AbstentionPolicy(level, "class" if per_class else of_all)
    retriever = SafeRetriever(gallery, gallery.index(), policy)

    def record(query: Prediction) -> dict[str, Any]:
        [answer] = retriever.query([query], k)
        return {
            "query": as_record(query, model),
            "abstained": answer.abstained,
            "neighbours": [asdict(neighbour) for neighbour in answer.neighbours],
            "withheld": [{**asdict(each.neighbour), "reason": each.reason} for each in answer.withheld],
        }

    return Answering(
        {"policy": asdict(policy)}, record, lambda query: _show_neighbours(*retriever.query([query], k))
    )


def credible_answers(gallery: Gallery, model: ImageModel, k: int, level: float) -> Answering:
    """Every image in the credible region of a query; k of them are shown.

    Raises:
        GalleryError: a level outside (0, 1).
    """
    retriever = CredibleRetriever(gallery, gallery.index(), level)

    def record(query: Prediction) -> dict[str, Any]:
        [answer] = retriever.query([query])
        found = answer.found
        return {
            "query": as_record(query, model),
            "least_similarity": found.cosine,
            "share_of_sphere": found.share,
            "set": [asdict(neighbour) for neighbour in retriever.neighbours(found, len(found))],
        }

    def show(query: Prediction) -> None:
        [answer] = retriever.query([query])
        found = answer.found
        print(
            f"{query.name}: {len(found):,} of {len(gallery):,} images in its {level:.4g} credible region "
            f"(similarity from {found.cosine:.3f}, {found.share:.2%} of the sphere)"
        )
        for neighbour in retriever.neighbours(found, k):
            print(_line(neighbour))
        if len(found) > k:
            print(f"    and {len(found) - k:,} more")

    return Answering({"credible": level}, record, show)


def _show_neighbours(answer: Neighbours) -> None:
    print(_described(answer.query))
    if answer.abstained is not None:
        print(f"    withheld: {answer.abstained}")
        return
    for neighbour in answer.neighbours:
        print(_line(neighbour))
    for each in answer.withheld:
        print(f"    passed over {each.neighbour.name}: {each.reason}")


def _line(neighbour: Neighbour) -> str:
    of_class = "" if neighbour.class_name is None else f"  [{neighbour.class_name}]"
    return f"    {neighbour.similarity:.3f}  {neighbour.name}{of_class}"


def _described(query: Prediction) -> str:
    if query.percentile is None:
        return f"{query.name}: uncertainty {query.uncertainty:.3f}"
    outside = ", but unlike these images" if query.outside_reference else ""
    return f"{query.name}: more uncertain than {query.percentile:.0%} of the reference images{outside}"
