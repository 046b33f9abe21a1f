"""The index of the zoo: what ``hub-models list`` says, as a table."""

from __future__ import annotations

from ..zoo import list_models
from .markdown import table


def zoo_table() -> str:
    """Every released model with its task, size, headline figure and licence."""
    rows = [["model", "task", "trained weights", "headline figure", "licence of the weights"]]
    for entry in list_models():
        size = f"{entry.size / 1e6:.2f} MB, {entry.parameters:,} numbers"
        rows.append(
            [f"`{entry.name}`", entry.task, size, entry.headline or "not evaluated yet", entry.licence]
        )
    return table(rows)
