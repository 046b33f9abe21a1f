"""results.jsonl: one line for every figure that a card, a table or the README shows."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..atomic import write_text
from ..errors import EvaluationError
from .bootstrap import Interval

PACKAGES = ("torch", "timm", "transformers", "numpy", "hub-models")


@dataclass(frozen=True)
class Result:
    """One figure.

    Attributes:
        model: name of the checkpoint or variant.
        revision: first digits of the hash of its trained weights.
        task: name and version of the protocol, ``name@1``.
        metric: what was measured.
        read_out: which uncertainty was measured ("" where the metric needs none).
        value, low, high, n: the figure, its 95 % interval, and the number of items.
        seed: of the training.
        hardware, versions, command: where and how.
    """

    model: str
    revision: str
    task: str
    metric: str
    read_out: str
    value: float
    low: float
    high: float
    n: int
    seed: int
    hardware: str
    versions: dict[str, str]
    command: str

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What identifies the figure; a new run replaces the old line."""
        return self.model, self.task, self.metric, self.read_out, self.seed


@dataclass(frozen=True)
class Run:
    """What all results of one run share."""

    model: str
    revision: str
    seed: int
    command: str

    def result(self, task: str, metric: str, read_out: str, interval: Interval) -> Result:
        """One figure of this run."""
        return Result(
            task=task,
            metric=metric,
            read_out=read_out,
            **dataclasses.asdict(interval),
            **dataclasses.asdict(self),
            hardware=hardware(),
            versions={name: version(name) for name in PACKAGES},
        )


def hardware() -> str:
    """The processor's family and the number of cores in use."""
    import torch

    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def read_results(path: Path) -> list[Result]:
    """All lines of a file, none if it does not exist.

    Raises:
        EvaluationError: names the line that is not a result.
    """
    if not path.exists():
        return []
    results = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            results.append(Result(**json.loads(line)))
        except (json.JSONDecodeError, TypeError) as error:
            raise EvaluationError(
                f"{path}, line {number}: not a result ({error}); run the evaluation again"
            ) from error
    return results


def write_results(path: Path, new: Iterable[Result]) -> None:
    """Replace lines of the same key, keep the others, sort, and write in one step."""
    merged = {result.key: result for result in [*read_results(path), *new]}
    lines = [json.dumps(_rounded(dataclasses.asdict(merged[key]))) for key in sorted(merged)]
    write_text(path, "\n".join(lines) + "\n")


def _rounded(record: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in record.items()}
