"""``hub-models list``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from .. import zoo
from .options import Json, print_json, print_table


def list_models(
    task: Annotated[str | None, typer.Option(help="Only models of this task.")] = None,
    licence: Annotated[str | None, typer.Option(help="Only models of this licence.")] = None,
    as_json: Json = False,
) -> None:
    """List the models of the zoo."""
    entries = zoo.list_models(task, licence)
    if as_json:
        print_json([asdict(entry) for entry in entries])
    elif entries:
        for name in dict.fromkeys(entry.task for entry in entries):
            print_table([_row(entry) for entry in entries if entry.task == name], title=name)
    elif task or licence:
        known = zoo.list_models()
        tasks, licences = ({getattr(entry, field) for entry in known} for field in ("task", "licence"))
        print(
            f"no such model; tasks: {', '.join(sorted(tasks))}; licences: {', '.join(sorted(licences))}",
            file=sys.stderr,
        )
    else:
        print("no checkpoint is installed with this package")


def _row(entry: zoo.ModelEntry) -> dict[str, str]:
    """What fits a terminal of 80 columns; the rest is in the JSON."""
    return {
        "name": entry.name,
        "size": f"{entry.size / 1e6:.1f} MB",
        "licence": entry.licence,
        "headline": entry.headline or "not evaluated yet",
    }


COMMANDS = {"list": list_models}
