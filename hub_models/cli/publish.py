"""``hub-models export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import zoo


def export(
    name: Annotated[
        str | None,
        typer.Argument(help="A model or pipeline (`hub-models list`), or the folder of a checkpoint."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Export every model and pipeline.")] = False,
    out: Annotated[Path, typer.Option(help="Folder to write below.")] = zoo.DIST,
) -> None:
    """Write a complete Hub repository, with code, weights, card and checksums."""
    from ..publishing.repositories import export_repository, repository_names

    if (name is None) != every:
        raise typer.BadParameter("give either a NAME or --all")
    for each in repository_names() if name is None else [name]:
        print(export_repository(each, out))


COMMANDS = {"export": export}
