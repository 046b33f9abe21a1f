"""The map of a gallery as one interactive page that needs no network."""

from __future__ import annotations

import html
import json
import re
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_text
from ..errors import ImageReadError, ImageSourceError
from ..image_sources import ImageSource, read_source_image
from ..thumbnails import data_uri
from .map import CERTAINTIES, DIAMETERS, OPACITIES, GalleryMap, between
from .map_template import PAGE

#: Thumbnails are embedded: about 5 kB each.
MAX_THUMBNAILS = 1_000
THUMBNAIL_SIDE = 144
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x")


def save_page(gallery_map: GalleryMap, path: str | Path, images: ImageSource | None = None) -> None:
    """Write the page.

    Args:
        images: what the gallery was made of; with it, up to ``MAX_THUMBNAILS`` evenly spread images get a
            thumbnail.
    """
    details = [_details(gallery_map, point) for point in range(len(gallery_map.items))]
    if images is not None:
        _add_thumbnails(details, images)
    parts = {
        "note": html.escape(gallery_map.note),
        "details": json.dumps(details).replace("<", "\\u003c"),  # no name can end the script
        "figure": _figure(gallery_map, details),
    }
    write_text(Path(path), re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], PAGE))


def _details(gallery_map: GalleryMap, point: int) -> dict[str, Any]:
    gallery, item = gallery_map.gallery, int(gallery_map.items[point])
    return {
        "name": gallery.names[item],
        "class": gallery.class_name(item),
        "percentile": None if gallery.percentiles is None else round(float(gallery.percentiles[item]), 4),
        "rank": round(1 - float(gallery_map.certainty[point]), 4),
        "thumbnail": None,
    }


def _add_thumbnails(details: list[dict[str, Any]], images: ImageSource) -> None:
    position = {name: index for index, name in enumerate(images.names)}
    for point in np.unique(np.linspace(0, len(details) - 1, min(MAX_THUMBNAILS, len(details))).astype(int)):
        index = position.get(details[point]["name"])
        if index is not None:
            details[point]["thumbnail"] = _thumbnail(images, index)


def _thumbnail(images: ImageSource, index: int) -> str | None:
    try:
        image = read_source_image(images, index)
    except (ImageReadError, ImageSourceError):
        return None  # gone since the gallery was made
    return data_uri(image, THUMBNAIL_SIDE)


def _figure(gallery_map: GalleryMap, details: list[dict[str, Any]]) -> str:
    import plotly.graph_objects as go

    figure = go.Figure()
    symbols = dict(zip([group.name for group in gallery_map.groups], cycle(SYMBOLS), strict=False))
    for group in reversed(gallery_map.groups):  # the classes with a colour of their own on top
        points = group.points[np.argsort(gallery_map.certainty[group.points])]  # certain images on top
        certainty = gallery_map.certainty[points]
        figure.add_scatter(
            x=gallery_map.positions[points, 0],
            y=gallery_map.positions[points, 1],
            mode="markers",
            legendgroup=group.name,
            showlegend=False,
            marker={
                "size": between(DIAMETERS, certainty),
                "opacity": between(OPACITIES, certainty),
                "color": group.colour,
                "symbol": symbols[group.name],
                "line": {"color": "white", "width": 0.5},
            },
            customdata=points,
            text=[_hover(details[point]) for point in points],
            hovertemplate="%{text}<extra></extra>",
        )
    if gallery_map.gallery.labels is not None:
        for group in gallery_map.groups:
            marker = {"color": group.colour, "symbol": symbols[group.name], "size": 11}
            _legend_entry(figure, "legend", group.name, marker)
    for name, certainty in CERTAINTIES.items():
        marker = {"size": between(DIAMETERS, certainty), "opacity": between(OPACITIES, certainty)}
        _legend_entry(figure, "legend2", name, {**marker, "color": "#333333"})
    legend = {"itemsizing": "trace", "x": 1.01, "xanchor": "left", "bgcolor": "rgba(0,0,0,0)"}
    axis = {"visible": False}
    figure.update_layout(
        template="plotly_white",
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        xaxis=axis,
        yaxis=axis,
        hovermode="closest",
        font={"size": 14},
        legend={**legend, "title": {"text": "<b>class</b> (click to hide)"}, "y": 1, "yanchor": "top"},
        legend2={**legend, "title": {"text": "<b>certainty</b> (rank)"}, "y": 0, "yanchor": "bottom"},
    )
    return figure.to_html(
        full_html=False,
        include_plotlyjs=True,
        div_id="map",
        config={"displaylogo": False, "responsive": True},
    )


def _legend_entry(figure: Any, legend: str, name: str, marker: dict[str, Any]) -> None:
    """A point that is not drawn: those of the data differ in size and opacity, so none can stand for all."""
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        name=html.escape(name),
        legend=legend,
        legendgroup=name,
        marker=marker,
    )


def _hover(detail: dict[str, Any]) -> str:
    lines = [f"<b>{html.escape(detail['name'])}</b>"]
    if detail["class"] is not None:
        lines.append(f"class: {html.escape(detail['class'])}")
    if detail["percentile"] is not None:
        lines.append(f"percentile: {detail['percentile']:.0%} of the reference is more certain")
    lines.append(f"more uncertain than {detail['rank']:.0%} of this map")
    return "<br>".join(lines)
