"""What users rely on: the released von Mises-Fisher encoder loads in four ways and answers alike."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

import hub_models
from hub_models.golden import flattened
from hub_models.modeling_vmf_encoder import VmfEncoderModel
from hub_models.publishing.export import export

NAME = "mcinfonce-2d"
STRANGER = """
import sys
sys.modules["hub_models"] = None
import torch
from safetensors.torch import load_file
from transformers import AutoModel
folder = sys.argv[1]
model, info = AutoModel.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
assert not any(info.values()), info
assert type(model).__module__.startswith("transformers_modules."), type(model)
golden = load_file(f"{folder}/golden.safetensors")
with torch.no_grad():
    output = model(golden["features"])
for name in output.keys():
    torch.testing.assert_close(output[name], golden[name], atol=1e-5, rtol=1e-5)
print(sorted(output.keys()))
"""


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
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, str(repository)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "['concentration', 'mean_direction', 'pooler_output', 'uncertainty']"


def test_its_answer_is_a_posterior_on_the_circle(repository: Path):
    output = hub_models.load(repository)(torch.rand(7, 2))
    torch.testing.assert_close(output.mean_direction.norm(dim=-1), torch.ones(7))
    torch.testing.assert_close(output.uncertainty, 1 / output.concentration)
