"""What `hub-models predict` writes: lines for people, records for JSON, or a file that can go on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from ..prediction import ImageModel, Prediction


def as_record(prediction: Prediction, model: ImageModel) -> dict[str, Any]:
    """A prediction in plain Python, without the embedding and with the label in words."""
    names = model.config.id2label
    return {
        "name": prediction.name,
        "uncertainty": prediction.uncertainty,
        "percentile": prediction.percentile,
        "outside_reference": prediction.outside_reference,
        "uncertainties": prediction.uncertainties,
        "concentration": prediction.concentration,
        "label": None
        if prediction.label is None
        else names.get(prediction.label, f"LABEL_{prediction.label}"),
        "label_index": prediction.label,
        "probability": prediction.probability,
        "entropy": prediction.entropy,
    }


def as_line(prediction: Prediction, model: ImageModel) -> str:
    """A prediction as a line for a person, below `HEADER`."""
    record = as_record(prediction, model)
    percentile = "-" if prediction.percentile is None else f"{prediction.percentile:.0%}"
    mark = "?" if prediction.outside_reference else " "
    label = "" if prediction.label is None else f"  {record['label']} ({prediction.probability:.0%})"
    return f"{percentile:>10}{mark} {prediction.uncertainty:>11.3f}  {prediction.name}{label}"


#: A percentile with a question mark is of an image that lies outside the reference.
HEADER = f"{'percentile':>10}  {'uncertainty':>11}  image"


class LinesFile:
    """A file with one JSON object for each image, in the order of the images, that survives a kill.

    Args:
        path: the file.
        model: name of the model; part of every line, so that two models are never mixed.
        names: of the images.
    """

    def __init__(self, path: Path, model: str, names: Sequence[str]) -> None:
        self.path, self.model, self.names = path, model, names

    def resume(self) -> int:
        """Cut off a last line that is incomplete, and count the others.

        Raises:
            typer.BadParameter: a line is not of this model or not of the image whose turn it is.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        done = 0
        with self.path.open("rb+") as file:
            end = 0
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._check(line, done)
                done, end = done + 1, end + len(line)
            file.truncate(end)
        return done

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line; a kill may cut it short, which `resume` mends."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"model": self.model, **record}, allow_nan=False) + "\n")

    def _check(self, line: bytes, number: int) -> None:
        try:
            found = json.loads(line)
            same = number < len(self.names) and (found["model"], found["name"]) == (
                self.model,
                self.names[number],
            )
        except (ValueError, KeyError, TypeError):
            same = False
        if not same:
            raise typer.BadParameter(
                f"{self.path}: line {number + 1} is of another model or image; choose another --output"
            )
