"""Card templates: where they lie, and how they are filled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import ModelCardData

from .. import model_cards

#: Licences that the Hub knows by name; any other is declared as ``other`` with its own name.
HUB_LICENCES = frozenset(
    {
        "apache-2.0",
        "bsd-3-clause",
        "cc-by-2.0",
        "cc-by-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "mit",
    }
)


def cards_folder() -> Path:
    """Where templates, outputs, pictures and the committed cards lie: model_cards in a clone, part of the wheel."""
    return Path(next(iter(model_cards.__path__)))


def fill(template: str, metadata: ModelCardData, **facts: Any) -> str:
    """A card: the template of that name with its facts. A fact that is missing is an error, never a gap."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(cards_folder() / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown; whoever renders it escapes
    )
    return environment.get_template(f"{template}.md").render(metadata=metadata.to_yaml().strip(), **facts)


def recorded_output(name: str) -> str:
    """What the card's example printed when it was last run; empty before."""
    path = cards_folder() / "outputs" / f"{name}.txt"
    return path.read_text(encoding="utf-8").rstrip() if path.is_file() else ""


def licence_metadata(licence: str) -> dict[str, Any]:
    """A recipe's licence as the Hub wants it."""
    known = licence.lower() in HUB_LICENCES
    return {"license": licence.lower() if known else "other", "license_name": None if known else licence}
