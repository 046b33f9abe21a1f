from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hub_models import zoo
from hub_models.image_sources import FolderSource
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel
from hub_models.retrieval import Gallery, build_gallery
from hub_models.retrieval.index import normalised

from ..generated_images import write_images


@pytest.fixture(scope="session")
def model(tiny_checkpoint: Path) -> ImageUncertaintyModel:
    return zoo.load(tiny_checkpoint)


@pytest.fixture(scope="session")
def processor(tiny_checkpoint: Path):
    return zoo.load_image_processor(tiny_checkpoint)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of each of two classes, one of them unreadable. Read only."""
    folder = write_images(tmp_path_factory.mktemp("photos"), 12, ("heron", "stork"))
    (folder / "heron" / "0003.png").write_bytes(b"not an image")
    return folder


@pytest.fixture(scope="session")
def gallery_folder(model, processor, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished gallery of `photos`. Copy it to change it."""
    folder = tmp_path_factory.mktemp("gallery")
    build_gallery(model, processor, FolderSource(photos), folder, model_name="tiny", show_progress=False)
    return folder


def random_gallery(count: int, classes: int = 0, seed: int = 0, width: int = 6) -> Gallery:
    """Random embeddings and uncertainties, in memory."""
    generator = np.random.default_rng(seed)
    return Gallery(
        names=[f"{i}.png" for i in range(count)],
        embeddings=normalised(generator.standard_normal((count, width))),
        uncertainty=generator.standard_normal(count).astype(np.float32),
        percentiles=generator.random(count).astype(np.float32),
        labels=generator.integers(0, classes, count) if classes else None,
        class_names=[f"class {c}" for c in range(classes)] if classes else None,
    )
