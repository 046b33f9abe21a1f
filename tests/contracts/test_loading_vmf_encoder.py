"""What users rely on: the released von Mises-Fisher encoder loads in four ways and answers alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

import hub_models
from hub_models.golden import flattened
from hub_models.modeling_vmf_encoder import VmfEncoderModel
from hub_models.publishing.export import export

from .strangers import answer_of_stranger

NAME = "mcinfonce-2d"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(NAME, tmp_path_factory.mktemp("hub"))


def test_our_loader_and_automodel_give_the_golden_output(repository: Path):
    golden = load_file(repository / "golden.safetensors")
    for model in (hub_models.load(repository), hub_models.load(NAME), AutoModel.from_pretrained(repository)):
        assert type(model) is VmfEncoderModel
        with torch.no_grad():
            output = model(golden["features"])
        for name, value in flattened(output).items():
            torch.testing.assert_close(value, golden[name], atol=1e-5, rtol=1e-5)


def test_a_stranger_loads_it_with_the_flag(repository: Path, tmp_path: Path):
    answer = answer_of_stranger("print(sorted(output.keys()))", repository, tmp_path)
    assert answer == "['concentration', 'mean_direction', 'pooler_output', 'uncertainty']"


def test_its_answer_is_a_posterior_on_the_circle(repository: Path):
    output = hub_models.load(repository)(torch.rand(7, 2))
    torch.testing.assert_close(output.mean_direction.norm(dim=-1), torch.ones(7))
    torch.testing.assert_close(output.uncertainty, 1 / output.concentration)
