"""The page for a text-to-image model: a prompt, pictures to protect, and the image without and with the shield."""

from __future__ import annotations

import gradio as gr
from comparison_page import comparison_page, welcome
from text_studio import TextStudio

from hub_models.space import on_gpu
from hub_models.space_words import refusal

INTRODUCTION = """\
# Shielded generation
{model}, steered away from the pictures you protect while it generates, without training.
"""


def build(studio: TextStudio) -> gr.Blocks:
    """The page."""

    @on_gpu
    def compare(
        prompt: str,
        seed: float | None,
        files: list[str] | None,
        radius: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio finds it by its default
    ) -> str:
        try:
            protected = studio.uploaded(files or [])
            done = studio.compare(
                prompt, int(seed or 0), protected, radius, lambda share, words: progress(share, words)
            )
        except ValueError as error:  # all our errors on bad input are ValueErrors
            return refusal(str(error))
        return comparison_page(done)

    with gr.Blocks(title="Shielded generation", delete_cache=(3600, 3600)) as page:
        gr.Markdown(INTRODUCTION.format(model=studio.name))
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                prompt = gr.Textbox(label="Prompt", max_length=1000)
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
                files = gr.File(label="Pictures to protect", file_count="multiple", type="filepath")
                radius = gr.Slider(
                    0.1,
                    round(studio.typical_distance, 1),
                    value=studio.usual_radius,
                    step=0.1,
                    label="Radius",
                    info="How far from every protected picture to stay; two images are about the largest value apart.",
                )
                generate = gr.Button("Generate", variant="primary")
            with gr.Column(scale=7, min_width=320):
                result = gr.HTML(
                    welcome("an image"), elem_id="result", elem_classes="answer", apply_default_css=False
                )
        generate.click(compare, [prompt, seed, files, radius], result, api_visibility="private")
    return page
