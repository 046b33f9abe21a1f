"""What `hub-models retrieve` writes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..modeling_image_uncertainty import ImageUncertaintyModel
from ..prediction import Prediction
from ..retrieval import Neighbours
from .prediction_output import as_record


def answer_record(answer: Neighbours, model: ImageUncertaintyModel) -> dict[str, Any]:
    """An answer in plain Python."""
    return {
        "query": as_record(answer.query, model),
        "abstained": answer.abstained,
        "neighbours": [asdict(neighbour) for neighbour in answer.neighbours],
        "withheld": [{**asdict(each.neighbour), "reason": each.reason} for each in answer.withheld],
    }


def print_answer(answer: Neighbours) -> None:
    """An answer for a person."""
    print(_described(answer.query))
    if answer.abstained is not None:
        print(f"    withheld: {answer.abstained}")
        return
    for neighbour in answer.neighbours:
        of_class = "" if neighbour.class_name is None else f"  [{neighbour.class_name}]"
        print(f"    {neighbour.similarity:.3f}  {neighbour.name}{of_class}")
    for each in answer.withheld:
        print(f"    passed over {each.neighbour.name}: {each.reason}")


def _described(query: Prediction) -> str:
    if query.percentile is None:
        return f"{query.name}: uncertainty {query.uncertainty:.3f}"
    outside = ", but unlike these images" if query.outside_reference else ""
    return f"{query.name}: more uncertain than {query.percentile:.0%} of the reference images{outside}"
