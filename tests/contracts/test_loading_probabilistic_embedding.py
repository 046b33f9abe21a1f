"""What users rely on: an embedding loads in four ways, knows its proxies, and keeps its norms."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel

import hub_models
from hub_models.backbones import PACKAGED
from hub_models.checkpoint_folder import read_recipe
from hub_models.golden import flattened
from hub_models.modeling_probabilistic_embedding import ProbabilisticEmbeddingModel
from hub_models.publishing.export import export
from hub_models.training.train_probabilistic_embedding import train_probabilistic_embedding
from hub_models.zoo import released_checkpoints

from ..training.tiny_embeddings import write_recipe
from .strangers import answer_of_stranger

TOLERANCE = 1e-5
RELEASED = [
    path
    for path in released_checkpoints()
    if read_recipe(path / "recipe.toml")["task"] == "probabilistic-embedding"
]
PROCESSED = """
from PIL import Image
from transformers import AutoImageProcessor
processor = AutoImageProcessor.from_pretrained(folder)
pixels = processor(Image.new("RGB", (90, 40)), return_tensors="pt")["pixel_values"]
assert pixels.shape[-2:] == (model.config.image_size,) * 2, pixels.shape
if model.config.class_names:
    assert model.class_log_density(output.mean_direction).shape == (2, len(model.config.class_names))
print(len(model.config.class_names or []))
"""


@pytest.fixture(scope="module", params=["tiny", *RELEASED], ids=lambda p: getattr(p, "name", p))
def repository(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "tiny":
        folder = tmp_path_factory.mktemp("tiny")
        train_probabilistic_embedding(write_recipe(folder), folder / "tiny-embedding")
        return export(folder / "tiny-embedding", tmp_path_factory.mktemp("hub"))
    package = PACKAGED[read_recipe(request.param / "recipe.toml")["backbone"]]
    if importlib.util.find_spec(package.distribution.replace("-", "_")) is None:
        pytest.skip(f"{package.distribution} is not installed")
    return export(request.param, tmp_path_factory.mktemp("hub"))


def test_our_loader_and_automodel_give_the_golden_output(repository: Path):
    golden = load_file(repository / "golden.safetensors")
    for model in (hub_models.load(repository), AutoModel.from_pretrained(repository)):
        assert type(model) is ProbabilisticEmbeddingModel
        with torch.no_grad():
            output = flattened(model(golden["pixel_values"]))
        for name, value in output.items():
            torch.testing.assert_close(value, golden[name], atol=TOLERANCE, rtol=TOLERANCE)


def test_a_stranger_loads_it_with_the_flag(repository: Path, tmp_path: Path):
    classes = hub_models.load(repository).config.class_names or []
    assert answer_of_stranger(PROCESSED, repository, tmp_path) == str(len(classes))


def test_the_processor_shows_the_whole_image(repository: Path):
    """Squashed, not cropped: a stripe at the very edge is still there."""
    image = Image.new("RGB", (300, 100))
    image.paste("white", (0, 0, 20, 100))
    pixels = AutoImageProcessor.from_pretrained(repository)(image, return_tensors="pt")["pixel_values"][0]
    assert pixels[:, :, 0].mean() > pixels[:, :, -1].mean() + 1


def test_directions_are_unit_vectors_and_concentrations_are_not_normalised_away(repository: Path):
    model = hub_models.load(repository)
    golden = load_file(repository / "golden.safetensors")
    torch.testing.assert_close(golden["mean_direction"].norm(dim=1), torch.ones(2))
    torch.testing.assert_close(golden["uncertainty"], 1 / golden["concentration"])
    if model.config.concentration_from == "norm":
        embedding = model.embedding(golden["pooler_output"])
        torch.testing.assert_close(
            golden["concentration"],
            model.config.concentration_scale * embedding.norm(dim=1),
            atol=1e-4,
            rtol=1e-4,
        )
