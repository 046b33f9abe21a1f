"""Safe retrieval: drop a photo, see how uncertain the model is, and get neighbours, an abstention or a credible set."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from answer_page import answer_page, credible_page, welcome
from example_photos import example_photos
from safe_search import Later, Look, SafeSearch

from hub_models.errors import HubModelsError
from hub_models.image_sources import open_images
from hub_models.prediction import OutsideReferenceWarning, Skipped
from hub_models.sample_photos import sample_photos
from hub_models.space import serve
from hub_models.space_words import refusal

MODEL = "uncertainty-efficientnet-lite0"
#: For credible sets: a probabilistic embedding.
EMBEDDING = "nivmf-cub"
LIMIT = 90
LEVEL = 95
NEAREST, CREDIBLE = "Nearest photos", "Credible set"

INTRODUCTION = """\
# Safe retrieval
Image search that knows when not to answer.
"""
EXPLANATION = """\
- **Percentile.** A raw uncertainty means nothing to a person, so it is compared with {reference} ordinary
  photos that the model was not trained on: the *reference*. At 93% the model is less certain about your photo
  than about 93% of these.
- **Withheld.** What lies above your limit is not answered: your photo, or a photo of the gallery that would
  have been a neighbour. An uncertain photo has neighbours too, but they are guesses.
- **Unlike the reference.** On X-rays, drawings or strong blur the comparison itself is shaky. Where features
  lie farther out than those of 99% of the reference, the page says so.
- **Credible set.** Another model, `{embedding}`, gives each photo a region of a sphere instead of a point. The set
  holds every photo whose point lies in the region of the probability you choose. It learned from photos of birds, so
  its regions mean most for these.
- **Gallery.** {gallery}. To search your own photos, run it with `HUB_MODELS_GALLERY=folder python app.py`.

Model: `{model}`, a frozen backbone with heads that predict its loss, after *Pretrained Visual Uncertainties*
(Kirchhof et al., 2024). Its weights are for non-commercial research. Uploads are deleted within two hours.
"""


def build(search: SafeSearch, sets: Later, embedding: str, gallery: str, examples: list[Path]) -> gr.Blocks:
    """The page.

    Args:
        search: answers with neighbours.
        sets: answers with credible sets.
        embedding: the model behind ``sets``.
        gallery: what it searches, in words.
        examples: photos to try.
    """

    def show(look: Look | Skipped | None, mode: str, percent: float, level: float) -> str:
        if look is None:
            return welcome(gallery)
        if isinstance(look, Skipped):
            return refusal(look.reason, "This file cannot be used")
        if mode == NEAREST:
            return answer_page(look, search.answer(look, percent), percent, search.thumbnail)
        try:
            return credible_page(look, sets.get().credible(look, level), level, sets.get().thumbnail)
        except HubModelsError as error:
            return refusal(str(error), "No credible set")

    def receive(
        upload: dict[str, Any] | None, mode: str, percent: float, level: float
    ) -> tuple[Look | Skipped | None, str]:
        if upload is None:
            return None, welcome(gallery)
        try:
            chosen = search if mode == NEAREST else sets.get()
        except HubModelsError as error:
            return None, refusal(str(error), "No credible set")
        look = chosen.look(upload["path"], upload["orig_name"] or "the photo")
        return look, show(look, mode, percent, level)

    def choose(
        upload: dict[str, Any] | None, mode: str, percent: float, level: float
    ) -> tuple[Look | Skipped | None, str, dict[str, Any], dict[str, Any]]:
        sliders = gr.update(visible=mode == NEAREST), gr.update(visible=mode == CREDIBLE)
        return *receive(upload, mode, percent, level), *sliders

    with gr.Blocks(title="Safe retrieval", delete_cache=(3600, 3600)) as page:
        gr.Markdown(INTRODUCTION)
        seen = gr.State()
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                photo = gr.Image(
                    label="Photo",
                    type="filepath",
                    sources=["upload", "clipboard"],
                    height=340,
                    alt_text="your photo",
                )
                gr.Examples(
                    [[str(path)] for path in examples],
                    photo,
                    label="Or try one of these: clear, cropped, noisy, blurred",
                    elem_id="examples",
                )
            with gr.Column(scale=7, min_width=320):
                mode = gr.Radio([NEAREST, CREDIBLE], value=NEAREST, label="Answer with")
                limit = gr.Slider(
                    1,
                    100,
                    value=LIMIT,
                    step=1,
                    label="Limit (%)",
                    info="Withhold what is more uncertain than this share of ordinary photos.",
                )
                level = gr.Slider(
                    50,
                    99,
                    value=LEVEL,
                    step=1,
                    label="Probability (%)",
                    info="Of the region: the larger, the more photos are in the set.",
                    visible=False,
                )
                result = gr.HTML(
                    welcome(gallery), elem_id="result", elem_classes="answer", apply_default_css=False
                )
        with gr.Accordion("How to read this", open=False):
            reference = search.model.config.reference_size
            gr.Markdown(
                EXPLANATION.format(reference=reference, gallery=gallery, model=MODEL, embedding=embedding)
            )
        # preprocess=False: the file arrives as it was sent; the library reads it, with all checks.
        settings = [mode, limit, level]
        photo.change(receive, [photo, *settings], [seen, result], preprocess=False, api_visibility="private")
        mode.change(
            choose,
            [photo, *settings],
            [seen, result, limit, level],
            preprocess=False,
            trigger_mode="always_last",
            api_visibility="private",
        )
        for slider in (limit, level):
            slider.change(
                show,
                [seen, *settings],
                result,
                show_progress="hidden",
                trigger_mode="always_last",
                api_visibility="private",
            )
    return page


def main() -> None:
    """Load the model, build the gallery and serve."""
    warnings.simplefilter("ignore", OutsideReferenceWarning)  # the page says it of each photo
    folder = os.environ.get("HUB_MODELS_GALLERY")
    embedding = os.environ.get("HUB_MODELS_EMBEDDING", EMBEDDING)
    try:
        photos = open_images(folder) if folder else sample_photos()
        search = SafeSearch(MODEL, photos)
    except HubModelsError as error:
        raise SystemExit(f"error: {error}") from None
    for reason in search.gallery.skipped.values():
        print(f"skipped: {reason}", file=sys.stderr)
    size = len(search.gallery)
    gallery = f"{size:,} photos in {Path(folder).name}" if folder else f"{size} sample photos"
    with tempfile.TemporaryDirectory() as examples:
        page = build(search, Later(embedding, photos), embedding, gallery, example_photos(Path(examples)))
        serve(page, Path(__file__).with_name("style.css"), "32mb")


if __name__ == "__main__":
    main()
