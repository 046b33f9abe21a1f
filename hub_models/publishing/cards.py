"""All cards: ``python -m hub_models.publishing.cards [NAME ...]`` makes them again, in ``model_cards``.

A card's picture is drawn, its repository exported, its example run there, and the card written with what it printed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..atomic import write_text
from ..paths import CHECKPOINTS
from ..zoo import list_models
from .card import card
from .card_drawing import draw, save, shield_picture
from .card_examples import python_blocks, run_block
from .card_pictures import picture_path
from .card_template import cards_folder
from .export_pipeline import PIPELINES
from .pipeline_card import pipeline_card
from .repositories import export_repository


def card_names() -> list[str]:
    """The repositories that have a card here: models, generators and pipelines. Those of data sets lie beside them."""
    return [*(entry.name for entry in list_models()), *PIPELINES]


def card_of(name: str) -> str:
    """The card of a repository, from what is recorded: nothing is run."""
    return pipeline_card(name, PIPELINES[name]) if name in PIPELINES else card(CHECKPOINTS / name)


def make_card(name: str) -> None:
    """Draw, run and write one card anew."""
    if name in PIPELINES:
        save(shield_picture(), picture_path("spell"))
    else:
        draw(CHECKPOINTS / name, picture_path(name))
        with tempfile.TemporaryDirectory() as scratch:
            export_repository(name, Path(scratch))
            example = python_blocks(card_of(name))[0]
            write_text(cards_folder() / "outputs" / f"{name}.txt", run_block(example, Path(scratch)) + "\n")
    write_text(cards_folder() / f"{name}.md", card_of(name))


def main(names: Sequence[str]) -> None:
    """Make the named cards, or all."""
    for name in names or card_names():
        make_card(name)
        print(cards_folder() / f"{name}.md")


if __name__ == "__main__":
    main(sys.argv[1:])
