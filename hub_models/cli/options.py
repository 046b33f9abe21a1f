"""Options that several commands share, and how results are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

Name = Annotated[
    str, typer.Argument(help="A model of the zoo (see `hub-models list`) or a folder that holds one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")]


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, allow_nan=False, default=str))


def print_table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> None:
    """Rows of equal keys as a table, floats to three digits."""
    from rich.console import Console
    from rich.table import Table

    if not rows:
        return
    table = Table(title=title)
    for number, header in enumerate(rows[0]):
        table.add_column(header, no_wrap=number == 0)  # a name must stay whole, to be copied
    for row in rows:
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)
