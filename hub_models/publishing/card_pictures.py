"""The picture of a card: a plot of its figures, or what it generates. Never a photo."""

from __future__ import annotations

from pathlib import Path

from .card_template import cards_folder

#: Its name in a repository.
PICTURE = "picture.png"
SHIELD_CAPTION = (
    "The same noise without and with a shield around the images of the upper row, by the small generator {name}: "
    "what lay within the radius is pushed out of it."
)
CAPTIONS = {
    "class-conditional-generation": SHIELD_CAPTION,
    "failure-network": "The likeliest root causes after one observation, as the network ranks them.",
    "image-uncertainty": "Each read-out beside scores of the classifier: AUROC, 0.5 is chance, with 95 % intervals.",
    "probabilistic-embedding": "Class proxies; concentrations; errors when uncertain queries are set aside.",
    "vmf-encoder": "True against estimated concentration, and the recovered directions.",
}


def picture_path(name: str) -> Path:
    """Where the picture of a checkpoint's card, or that of the pipelines, ``spell``, lies, made or not."""
    return cards_folder() / "pictures" / f"{name}.png"


def caption(name: str, task: str) -> str:
    """What the picture shows; empty where there is none."""
    return CAPTIONS[task].format(name=name) if picture_path(name).is_file() else ""
