"""`hub-models space`."""

from __future__ import annotations

from typing import Annotated

import typer


def space(
    names: Annotated[list[str] | None, typer.Argument(help="Which Spaces; all of them by default.")] = None,
    port: Annotated[
        int, typer.Option(help="Of the one Space, or of the start page; the Spaces take those after it.")
    ] = 7860,
) -> None:
    """Serve Spaces on this machine, on 127.0.0.1 alone: one by its name, or all with a start page."""
    from ..space_servers import run_spaces, space_names

    run_spaces(names or space_names(), port)


COMMANDS = {"space": space}
