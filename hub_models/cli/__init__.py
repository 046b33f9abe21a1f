"""The command ``hub-models``. Each command lives in a module here and imports torch only when it runs."""

from __future__ import annotations

import sys

import typer

from ..errors import HubModelsError
from . import convert, demo, failure, generate, publish, retrieve, shield, space, train, zoo

app = typer.Typer(
    help="A model zoo for trustworthy machine learning: list, load, evaluate, train, retrieve, export.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (zoo, retrieve, generate, train, publish, convert, space, demo):
    for name, command in module.COMMANDS.items():
        app.command(name)(command)
app.add_typer(failure.app, name="failure")
app.add_typer(shield.app, name="shield")


def main() -> None:
    """Run the command; an expected error is one line on standard error and exit status 2."""
    try:
        app()
    except HubModelsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
