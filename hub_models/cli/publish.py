"""``hub-models export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import zoo


def export(
    name: Annotated[
        str | None, typer.Argument(help="A model of the zoo, or the folder of a checkpoint.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Export every model of the zoo.")] = False,
    out: Annotated[Path, typer.Option(help="Folder to write below.")] = zoo.DIST,
) -> None:
    """Write a complete Hub repository, with code, weights, card and checksums."""
    from ..publishing.export import export as export_model

    if (name is None) != every:
        raise typer.BadParameter("give either a NAME or --all")
    for each in [entry.name for entry in zoo.list_models()] if name is None else [name]:
        print(export_model(each, out))


COMMANDS = {"export": export}
