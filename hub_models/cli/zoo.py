"""``hub-models list``."""

from __future__ import annotations

from dataclasses import asdict

from .. import zoo
from .options import Json, print_json, print_table


def list_models(as_json: Json = False) -> None:
    """List the models of the zoo."""
    entries = zoo.list_models()
    if as_json:
        print_json([asdict(entry) for entry in entries])
    elif entries:
        print_table([_row(entry) for entry in entries])
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
