"""A data set of generated images with votes, and a recipe that learns from it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, List, Value

from ..generated_images import draw_image
from .tiny_embeddings import write_recipe

SOFT_LABELS = """\

[soft_labels]
images = "dataset:tiny_votes"
epochs = 2
batch_size = 6
negatives = 3
samples = 4
"""
FEATURES = Features(
    {
        "image": Image(),
        "name": Value("string"),
        "label": ClassLabel(names=["ant", "bee", "cat"]),
        "votes": List(Value("int32")),
    }
)


def write_votes(cache: Path, count: int = 30, damaged: int | None = None) -> None:
    """The data set ``tiny_votes`` where `hub_models.datasets_builder` looks for it, below a cache folder."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        content = BytesIO()
        draw_image(number, side=32).save(content, "PNG")
        votes = generator.multinomial(20, generator.dirichlet([0.5, 0.5, 0.5])).tolist()
        rows.append(
            {
                "image": {"bytes": b"" if number == damaged else content.getvalue(), "path": None},
                "name": f"{number:02d}.png",
                "label": int(np.argmax(votes)),
                "votes": votes,
            }
        )
    folder = cache / "datasets" / "tiny_votes" / "data"
    folder.mkdir(parents=True)
    Dataset.from_list(rows, features=FEATURES).to_parquet(str(folder / "test-00000-of-00001.parquet"))


def write_soft_label_recipe(folder: Path, extra: str = "") -> Path:
    """A recipe of `tiny_embeddings` with a further table."""
    path = write_recipe(folder, loss="cosine_softmax")
    text = path.read_text(encoding="utf-8").replace(
        "trained_stages = 1", 'trained_stages = 1\nconcentration_from = "head"\nhead_width = 8'
    )
    path.write_text(text + SOFT_LABELS + extra, encoding="utf-8")
    return path
