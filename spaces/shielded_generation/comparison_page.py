"""A comparison as HTML. All words and pictures of the result are made here."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from twice import Comparison, Outcome

SMALL = 64  # pixels of a side; smaller images are shown with their pixels


def welcome(what: str = "a digit") -> str:
    """Before the first question."""
    return (
        f'<section class="welcome"><h2>Generate {what} twice from the same noise</h2>'
        "<p>Once as the model does it, and once with a shield around the images you protect. "
        "Choose what to protect, then press <b>Generate</b>.</p></section>"
    )


def comparison_page(comparison: Comparison) -> str:
    """Both images with what is nearest to each, and when the shield acted."""
    acted = sum(comparison.acted)
    inside = comparison.plain.distance < comparison.radius
    if not acted:
        headline = "The shield had nothing to do: this image was no copy."
    elif inside:
        headline = "Without the shield this is a copy. The shield led it out of the radius."
    else:
        headline = "The shield acted on the way, and the image stayed clear of what is protected."
    steps = "".join(
        f'<i class="{"on" if on else "off"}" title="step {i + 1}: {"pushed" if on else "left alone"}"></i>'
        for i, on in enumerate(comparison.acted)
    )
    return (
        f'<section class="verdict {"copy" if inside else "clear"}"><h2>{headline}</h2>'
        f"<p>{html.escape(comparison.asked).capitalize()}, seed {comparison.seed}; {comparison.protected:,} protected "
        f"{'image' if comparison.protected == 1 else 'images'}, radius {comparison.radius:.1f}.</p>"
        f'<div class="pair">{_side("Plain", comparison.plain, comparison.radius)}'
        f"{_side('Shielded', comparison.shielded, comparison.radius)}</div></section>"
        f'<section class="activity"><h3>When the shield acted</h3><div class="steps" role="img" '
        f'aria-label="the shield acted on {acted} of {len(comparison.acted)} steps">{steps}</div>'
        f'<p class="detail">On {acted} of {len(comparison.acted)} steps, from pure noise on the left to the finished '
        f"image on the right. Largest change of the model's output: {comparison.strongest:.0%}.</p></section>"
    )


def _side(title: str, outcome: Outcome, radius: float) -> str:
    inside = outcome.distance < radius
    share = min(outcome.distance / (2 * radius), 1.0)
    state = "inside" if inside else "outside"
    return (
        f'<div class="side {title.lower()} {state}"><h3>{title}</h3>'
        f'<div class="images">{_figure(outcome.image, "generated", f"{title} image")}'
        f"{_figure(outcome.nearest, 'nearest protected: ' + outcome.nearest_name, 'nearest protected image')}</div>"
        f'<div class="scale" role="img" aria-label="distance {outcome.distance:.1f}, radius {radius:.1f}">'
        f'<span style="width:{100 * share:.0f}%"></span><b></b></div>'
        f'<p class="distance">Distance {outcome.distance:.2f}: <strong>{state}</strong> the radius {radius:.2f}</p>'
        "</div>"
    )


def diversity_page(plain: Sequence[np.ndarray], apart: Sequence[np.ndarray], radius: float) -> str:
    """Two grids of one digit from the same noises, and how far their images are from each other."""
    return (
        '<section class="verdict diversity"><h2>The same noises, twice</h2><div class="pair">'
        f"{_grid('As the model makes them', plain, 'plain')}{_grid(f'Kept {radius:.1f} apart', apart, 'apart')}"
        "</div></section>"
    )


def _grid(title: str, images: Sequence[np.ndarray], name: str) -> str:
    pixels = np.stack(images).reshape(len(images), -1).astype(float) / 127.5
    distances = np.sqrt(np.square(pixels[:, None] - pixels[None]).sum(-1))
    np.fill_diagonal(distances, np.inf)
    figures = "".join(
        f'<img {_look(image)} src="{_data(image)}" alt="{title}, image {i + 1}">'
        for i, image in enumerate(images)
    )
    return (
        f'<div class="side {name}"><h3>{title}</h3><div class="grid">{figures}</div>'
        '<p class="distance">Mean distance to the nearest neighbour: '
        f"<strong>{distances.min(1).mean():.2f}</strong></p>"
        "</div>"
    )


def _figure(image: np.ndarray, caption: str, alternative: str) -> str:
    return (
        f'<figure><img {_look(image)} src="{_data(image)}" alt="{html.escape(alternative)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _look(image: np.ndarray) -> str:
    return 'class="pixels"' if max(image.shape[:2]) <= SMALL else ""


def _data(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
