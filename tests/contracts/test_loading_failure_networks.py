"""What users rely on: a released failure network loads in four ways and answers alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

import hub_models
from hub_models.golden import flattened
from hub_models.modeling_failure_network import FailureNetworkModel
from hub_models.publishing.export import export

from .strangers import answer_of_stranger

NAME = "battery-failure-network"
QUESTIONS = """
import importlib.util
answer = model.posterior(present=["Burr on cut edge"])
if importlib.util.find_spec("networkx"):
    assert type(model).from_networkx(model.to_networkx()).posterior(["Burr on cut edge"]).method == answer.method
print(answer.ranked()[0].name)
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(NAME, tmp_path_factory.mktemp("hub"))


def test_our_loader_and_automodel_give_the_golden_output(repository: Path):
    golden = load_file(repository / "golden.safetensors")
    for model in (hub_models.load(repository), hub_models.load(NAME), AutoModel.from_pretrained(repository)):
        assert type(model) is FailureNetworkModel
        assert model.leak.dtype == torch.float64
        for name, value in flattened(model(golden["evidence"])).items():
            torch.testing.assert_close(value, golden[name], atol=1e-9, rtol=1e-9)


def test_a_stranger_loads_it_with_the_flag(repository: Path, tmp_path: Path):
    assert answer_of_stranger(QUESTIONS, repository, tmp_path) == "Slitting blade worn"


def test_the_card_tells_what_it_is_not(repository: Path):
    card = (repository / "README.md").read_text(encoding="utf-8")
    assert "teaching set" in card
    assert "reconstruction" in card
