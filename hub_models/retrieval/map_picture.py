"""The map of a gallery as a picture."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from .map import CERTAINTIES, DIAMETERS, OPACITIES, Certainty, GalleryMap, between

MARKERS = "osD^vPX"
LEGEND_LENGTH = 30


def save_picture(gallery_map: GalleryMap, path: str | Path) -> None:
    """Draw the map and save it; the format follows the suffix."""
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.5), dpi=150, layout="constrained")
    axis = figure.subplots()
    markers = dict(zip([group.name for group in gallery_map.groups], cycle(MARKERS), strict=False))
    for group in reversed(gallery_map.groups):  # the classes with a colour of their own on top
        points = group.points[np.argsort(gallery_map.certainty[group.points])]  # certain images on top
        certainty = gallery_map.certainty[points]
        colours = np.tile(to_rgba(group.colour), (len(points), 1))
        colours[:, 3] = between(OPACITIES, certainty)
        axis.scatter(
            gallery_map.positions[points, 0],
            gallery_map.positions[points, 1],
            s=_area(certainty),
            c=colours,
            marker=markers[group.name],
            edgecolors="white",
            linewidths=0.4,
        )
    axis.set_title(f"Uncertainty-aware map of {gallery_map.note}", loc="left", fontsize=13)
    axis.set(xticks=[], yticks=[], xlabel="t-SNE: near = similar; distances between far groups mean little")
    axis.spines[:].set_color("0.8")

    def heading(text: str) -> Any:
        return axis.scatter([], [], alpha=0, label=text)

    handles = [heading("Certainty (rank)")] + [
        axis.scatter([], [], s=_area(certainty), c="0.2", alpha=between(OPACITIES, certainty), label=name)
        for name, certainty in CERTAINTIES.items()
    ]
    if gallery_map.gallery.labels is not None:
        handles += [heading(" "), heading("Class")] + [
            axis.scatter(
                [], [], s=60, c=group.colour, marker=markers[group.name], label=_legend_text(group.name)
            )
            for group in gallery_map.groups
        ]
    # One legend, because the layout makes room for one beside the map.
    figure.legend(handles=handles, loc="outside right upper", frameon=False, labelspacing=0.8)
    figure.savefig(path)


def _area(certainty: Certainty) -> Certainty:
    """matplotlib takes areas in square points; 0.75 points are a CSS pixel."""
    return (0.75 * between(DIAMETERS, certainty)) ** 2


def _legend_text(name: str) -> str:
    """Short enough to leave room for the map, and never read as a formula."""
    return (name if len(name) <= LEGEND_LENGTH else f"{name[: LEGEND_LENGTH - 1]}…").replace("$", r"\$")
