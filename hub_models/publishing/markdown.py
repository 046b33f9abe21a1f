"""Figures and tables as Markdown."""

from __future__ import annotations

from ..evaluation.results import Result


def cell(result: Result | None) -> str:
    """A figure with its 95 % interval; empty where it was not measured."""
    return "" if result is None else f"{result.value:.3f} [{result.low:.3f}, {result.high:.3f}]"


def table(rows: list[list[str]]) -> str:
    """Rows as a table; the first is its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
