"""The figures that a card shows, in words: each is one line of results.jsonl, none is written by hand."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import EvalResult

from .card_template import cards_folder


@dataclass(frozen=True)
class Figure:
    """One row of a card's table.

    Attributes:
        task, metric, read_out: the line of results.jsonl.
        words: what it says, for a person.
        data: the data set, for the Hub's index of results.
        beside: read-out -> name of what it is compared with, from lines of the same task and metric.
    """

    task: str
    metric: str
    read_out: str
    words: str
    data: str
    beside: Mapping[str, str] = field(default_factory=dict)

    def line(
        self, results: Sequence[Mapping[str, Any]], read_out: str | None = None
    ) -> Mapping[str, Any] | None:
        """The result of this figure, or of another read-out in its place; None where it was not measured."""
        wanted = (self.task, self.metric, self.read_out if read_out is None else read_out)
        found = (line for line in results if (line["task"], line["metric"], line["read_out"]) == wanted)
        return next(found, None)


def figures(task: str) -> list[Figure]:
    """What the cards of a recipe's task show, most telling first; see model_cards/figures.toml."""
    table = tomllib.loads((cards_folder() / "figures.toml").read_text(encoding="utf-8"))
    return [Figure(**entry) for entry in table.get(task, [])]


def figures_table(task: str, results: Sequence[Mapping[str, Any]]) -> str:
    """The figures of a task as a Markdown table, and the commands that made them; says so where there are none."""
    rows = []
    commands = []
    for figure in figures(task):
        line = figure.line(results)
        if line is None:
            continue
        beside = [
            f"{name} {other['value']:.3f}"
            for read_out, name in figure.beside.items()
            if (other := figure.line(results, read_out)) is not None
        ]
        cells = (
            figure.words,
            f"{line['value']:.3f}",
            f"{line['low']:.3f} to {line['high']:.3f}",
            str(line["n"]),
        )
        rows.append(f"| {' | '.join(cells)} | {', '.join(beside)} |")
        commands.append(line["command"])
    if not rows:
        return "Not evaluated yet."
    head = "| | value | 95 % interval | n | beside it |\n|---|---|---|---|---|"
    made_by = ", ".join(f"`{command}`" for command in dict.fromkeys(commands))
    return "\n".join(
        [head, *rows, "", f"Made by {made_by}; every figure that was measured stands in `results.jsonl`."]
    )


def index_of_results(task: str, results: Sequence[Mapping[str, Any]]) -> list[EvalResult]:
    """The same figures for the Hub's index (``model-index``)."""
    found = ((figure, figure.line(results)) for figure in figures(task))
    return [
        EvalResult(
            task_type=task,
            dataset_type=figure.data.replace(" ", "-"),
            dataset_name=figure.data,
            metric_type=figure.metric,
            metric_name=figure.words.replace("`", ""),
            metric_value=line["value"],
        )
        for figure, line in found
        if line is not None
    ]
