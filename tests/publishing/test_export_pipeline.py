from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from hub_models.errors import CheckpointError
from hub_models.generation.checkpoints import load_pipeline
from hub_models.manifest import check_manifest
from hub_models.publishing.export_pipeline import PIPELINES, spell_folder
from hub_models.publishing.repositories import export_repository, repository_names

from ..pipelines.spell import tiny_pipelines

GENERATOR = "digits-flow-memorised"
HEAD = """
import sys
sys.modules["hub_models"] = None
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
folder, base = sys.argv[1:]
"""
GENERATE = """
pipe = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
pipe.set_progress_bar_config(disable=True)
golden = load_file(f"{folder}/golden.safetensors")
inputs = {name: value for name, value in golden.items() if name != "velocity"}
with torch.no_grad():
    output = pipe.unet(inputs["sample"], inputs["timestep"], class_labels=inputs["class_labels"]).sample
torch.testing.assert_close(output, golden["velocity"], atol=1e-4, rtol=1e-4)
noise = torch.Generator().manual_seed(3)
image = pipe(["3"], num_inference_steps=4, generator=noise, output_type="pt").images
print(type(pipe).__name__, image.double().sum().item())
try:
    DiffusionPipeline.from_pretrained(folder)
except ValueError as error:
    print("trust_remote_code" in str(error))
"""
BORROW = """
pipe = DiffusionPipeline.from_pretrained(base, custom_pipeline=folder, trust_remote_code=True)
print(type(pipe).__name__)
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hub")
    export_repository(GENERATOR, out)
    for name in PIPELINES:
        export_repository(name, out)
    return out


def stranger(code: str, folder: Path, base: Path, home: Path) -> list[str]:
    """What a process prints that knows diffusers, but not this project: offline, with empty caches."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", HEAD + code, str(folder), str(base)],
        cwd=home,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def test_a_stranger_puts_a_shield_on_a_pipeline_of_its_own(hub: Path, tmp_path: Path):
    tiny_pipelines.ddpm().save_pretrained(tmp_path / "ddpm")
    assert stranger(BORROW, hub / "spell-ddpm", tmp_path / "ddpm", tmp_path) == ["SpellDDPMPipeline"]


def test_a_stranger_generates(hub: Path, tmp_path: Path):
    name, total, refused = stranger(GENERATE, hub / GENERATOR, tmp_path, tmp_path)
    assert (name, refused) == ("SpellClassConditionalPipeline", "True")
    pipe = load_pipeline(GENERATOR)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(3)
    image = pipe(["3"], num_inference_steps=4, generator=noise, output_type="pt").images
    assert float(total) == pytest.approx(image.double().sum().item(), rel=1e-5)


@pytest.mark.parametrize("name", [GENERATOR, *PIPELINES])
def test_an_export_is_whole_and_the_same_each_time(hub: Path, tmp_path: Path, name: str):
    check_manifest(hub / name)
    again = export_repository(name, tmp_path)
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(hub / name) for path in (hub / name).rglob("*") if path.is_file())
    for file in files:
        assert (again / file).read_bytes() == (hub / name / file).read_bytes(), file
    listed = json.loads((again / "MANIFEST.json").read_text())["files"]
    assert set(listed) == {file.as_posix() for file in files} - {"MANIFEST.json"}
    for path in again.glob("spell_*.py"):
        assert path.read_bytes() == (spell_folder() / path.name).read_bytes()
    assert yaml.safe_load((again / "README.md").read_text().split("---\n")[1])["library_name"] == "diffusers"


def test_a_changed_file_in_a_sub_folder_is_found(hub: Path, tmp_path: Path):
    copy = export_repository(GENERATOR, tmp_path)
    (copy / "unet/config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"unet/config\.json: altered"):
        check_manifest(copy)


def test_every_repository_has_a_name_of_its_own():
    names = repository_names()
    assert len(names) == len(set(names))
    assert {GENERATOR, "digits-flow", *PIPELINES} <= set(names)
