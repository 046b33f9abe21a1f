"""The table of what a shield does to the generators, from result files."""

from __future__ import annotations

from ..evaluation.results import Result
from .markdown import cell, table


def shield_table(results: dict[str, list[Result]]) -> str:
    """Generators with and without the shield: what lies inside the radius, and what it costs."""
    metrics = {
        "inside {radius}": "inside the radius",
        "delivered inside {radius}": "... of the 8-bit images",
        "accuracy": "recognised as their class",
        "precision": "precision",
        "recall": "recall",
    }
    rows = [["generator", "protected radius", "shield", *metrics.values()]]
    for model, lines in results.items():
        found = {(r.metric, r.read_out): r for r in lines if r.task == "protection@1"}
        radii = sorted(
            {metric.removeprefix("inside ") for metric, _ in found if metric.startswith("inside ")}
        )
        for radius in sorted(radii, key=lambda text: float(text.rstrip("%"))):
            for variant, shown in (("plain", "off"), (f"shielded {radius}", "on")):
                cells = [cell(found.get((metric.format(radius=radius), variant))) for metric in metrics]
                rows.append([model, f"holds {radius} of unseen real images", shown, *cells])
    return table(rows)
