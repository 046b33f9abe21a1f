"""The README's one picture: ``python -m hub_models.publishing.overview`` draws docs/overview.png."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .card_drawing import BLUE, save

TARGET = Path(__file__).parents[2] / "docs" / "overview.png"
PHOTOS = ("coffee", "astronaut", "cat", "pagoda", "rocket", "coins", "brick wall", "moving clock")


def main() -> None:
    """Photos ranked by a head, digits without and with a shield, and root causes; all of it computed here."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.4), layout="constrained")
    panels: Any = figure.subfigures(3, 1, height_ratios=[1.25, 1.1, 1.2])
    photos, digits, causes = panels
    _photos(photos)
    _digits(digits)
    _causes(causes)
    save(figure, TARGET)


def _photos(panel: Any) -> None:
    from ..image_sources import read_source_image
    from ..sample_photos import sample_photos
    from ..zoo import load, load_image_processor

    model, processor = (
        load("uncertainty-efficientnet-lite0"),
        load_image_processor("uncertainty-efficientnet-lite0"),
    )
    source = sample_photos()
    images = [read_source_image(source, source.names.index(name)) for name in PHOTOS]
    percentiles = model(**processor(images, return_tensors="pt")).uncertainty_percentile.tolist()
    ranked = sorted(zip(percentiles, images, strict=True), key=lambda pair: pair[0])
    panel.suptitle(
        "an uncertainty head: which photos will be mistaken? (percentile among photos)", fontsize=10
    )
    for axis, (percentile, image) in zip(panel.subplots(1, len(ranked)), ranked, strict=True):
        axis.imshow(image)
        axis.set(xticks=[], yticks=[])
        axis.set_xlabel(f"{percentile:.0%}")


def _digits(panel: Any) -> None:
    from ..generation.checkpoints import load_pipeline
    from ..generation.sampling import generate
    from ..spell import attach_spell

    pipe, labels = load_pipeline("digits-flow"), list(range(10)) * 2
    plain = generate(pipe, labels, seed=0, steps=30)
    attach_spell(pipe, plain, 12.0)
    shielded = generate(pipe, labels, seed=0, steps=30)
    panel.suptitle("shielded generation: the same noise, the images of the upper row protected", fontsize=10)
    for axis, images, words in zip(
        panel.subplots(2, 1), (plain, shielded), ("plain", "shielded"), strict=True
    ):
        strip = images.clamp(-1, 1)[:, 0].permute(1, 0, 2).flatten(1)
        axis.imshow(strip, cmap="gray_r")
        axis.set(xticks=[], yticks=[], ylabel=words)
        axis.spines[:].set_visible(False)


def _causes(panel: Any) -> None:
    from ..zoo import load

    observed = ["Burr on cut edge", "Self-discharge rate above limit"]
    causes = load("battery-failure-network").posterior(present=observed).ranked()[:5][::-1]
    panel.suptitle(
        "a failure network: what caused “burr on cut edge” and “self-discharge above limit”?", fontsize=10
    )
    axis = panel.subplots()
    axis.barh(
        [f"{cause.name} ({cause.stage})" for cause in causes],
        [cause.probability for cause in causes],
        color=BLUE,
    )
    axis.set_xlabel("probability")
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
