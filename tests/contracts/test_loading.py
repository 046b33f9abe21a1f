"""What users rely on: four ways to load a model, and that none of them is lenient.

Every released checkpoint whose backbone is installed goes through the same contracts as the tiny one.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, pipeline

import hub_models
from hub_models.backbones import PACKAGED
from hub_models.checkpoint_folder import read_recipe
from hub_models.errors import CheckpointError
from hub_models.manifest import write_manifest
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel
from hub_models.publishing.export import export
from hub_models.zoo import released_checkpoints

from .strangers import run_stranger

RELEASED = [
    path
    for path in released_checkpoints()
    if read_recipe(path / "recipe.toml")["task"] == "image-uncertainty"
]
TOLERANCE = 1e-5

#: The first lines of a process that knows transformers, but not this project.
STRANGER = """
import sys
sys.modules["hub_models"] = None
import json
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, AutoImageProcessor, AutoModel, pipeline
folder, photo = sys.argv[1:]
"""


@pytest.fixture(scope="module", params=["tiny", *RELEASED], ids=lambda p: getattr(p, "name", p))
def repository(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "tiny":
        return Path(request.getfixturevalue("tiny_repository"))
    recipe = read_recipe(request.param / "recipe.toml")
    package = PACKAGED.get(recipe["backbone"])
    if package is None or importlib.util.find_spec(package.distribution.replace("-", "_")) is None:
        pytest.skip(f"no installed package carries the weights of {recipe['backbone']}")
    return export(request.param, tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "gradient.png"
    Image.linear_gradient("L").convert("RGB").save(path)
    return path


def assert_golden(model: ImageUncertaintyModel, golden: dict[str, Tensor]) -> None:
    with torch.no_grad():
        output = model(golden["pixel_values"])
    for name in golden.keys() - {"pixel_values"}:
        field, _, read_out = name.partition(".")
        actual = output[field][read_out] if read_out else output[field]
        torch.testing.assert_close(
            actual, golden[name], atol=TOLERANCE, rtol=TOLERANCE, msg=f"{name} differs"
        )


def stranger(code: str, repository: Path, photo: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process that knows transformers, but not this project."""
    return run_stranger(STRANGER + code, repository, photo, home=home)


def test_our_loader_gives_the_golden_output(repository: Path):
    model = hub_models.load(repository)
    assert type(model) is ImageUncertaintyModel
    assert_golden(model, load_file(repository / "golden.safetensors"))


def test_automodel_needs_no_flag_once_hub_models_is_imported(repository: Path):
    model = AutoModel.from_pretrained(repository)
    assert type(model) is ImageUncertaintyModel
    assert_golden(model, load_file(repository / "golden.safetensors"))


def test_a_stranger_loads_it_with_the_flag(repository: Path, photo: Path, tmp_path: Path):
    code = """
golden = load_file(f"{folder}/golden.safetensors")
model, info = AutoModel.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
assert type(model).__module__.startswith("transformers_modules."), type(model)
assert not any(info.values()), info
with torch.no_grad():
    output = model(golden["pixel_values"])
for name in golden.keys() - {"pixel_values"}:
    field, _, read_out = name.partition(".")
    actual = output[field][read_out] if read_out else output[field]
    torch.testing.assert_close(actual, golden[name], atol=TOLERANCE, rtol=TOLERANCE)
processor = AutoImageProcessor.from_pretrained(folder)
pixels = processor(Image.open(photo), return_tensors="pt")["pixel_values"]
by_task = pipeline("image-uncertainty", model=folder, trust_remote_code=True)
by_model = pipeline(model=folder, trust_remote_code=True)
assert type(by_task).__module__.startswith("transformers_modules."), type(by_task)
result = by_task(photo)
assert by_model([photo, photo], batch_size=2)[1]["labels"][0]["label"] == result["labels"][0]["label"]
print(json.dumps([result, pixels.mean().item()]))
""".replace("TOLERANCE", str(TOLERANCE))
    done = stranger(code, repository, photo, tmp_path)
    assert done.returncode == 0, done.stderr
    result, mean = json.loads(done.stdout.splitlines()[-1])
    processor = AutoImageProcessor.from_pretrained(repository)
    scorer = pipeline("image-uncertainty", model=hub_models.load(repository), image_processor=processor)
    expected = scorer(photo)
    assert result["score"] == pytest.approx(expected["score"], abs=TOLERANCE)
    assert result["uncertainties"] == pytest.approx(expected["uncertainties"], abs=TOLERANCE)
    assert [entry["label"] for entry in result["labels"]] == [entry["label"] for entry in expected["labels"]]
    assert mean == pytest.approx(
        processor(Image.open(photo), return_tensors="pt")["pixel_values"].mean().item()
    )


def test_a_stranger_without_the_flag_is_refused(tiny_repository: Path, photo: Path, tmp_path: Path):
    code = """
refused = 0
for load in (
    lambda: AutoConfig.from_pretrained(folder),
    lambda: AutoModel.from_pretrained(folder),
    lambda: AutoModel.from_pretrained(folder, trust_remote_code=False),
    lambda: pipeline("image-uncertainty", model=folder),
):
    try:
        load()
    except ValueError as error:
        refused += "trust_remote_code=True" in str(error)
print(f"refused {refused} of 4")
"""
    done = stranger(code, tiny_repository, photo, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "refused 4 of 4" in done.stdout
    assert not list(tmp_path.rglob("modeling_image_uncertainty.py")), "code was copied without consent"


def broken(repository: Path, target: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    """A copy with changed tensors and a manifest that matches them."""
    shutil.copytree(repository, target)
    tensors = load_file(target / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    write_manifest(target)
    return target


def test_a_missing_tensor_is_listed(tiny_repository: Path, tmp_path: Path):
    def change(tensors: dict[str, Tensor]) -> None:
        del tensors["heads.error.members.0.0.weight"], tensors["backbone.conv_stem.weight"]

    folder = broken(tiny_repository, tmp_path / "broken", change)
    with pytest.raises(
        CheckpointError, match=r"missing: backbone\.conv_stem\.weight, heads\.error\.members\.0\.0\.weight$"
    ):
        hub_models.load(folder)


def test_an_unexpected_tensor_is_listed(tiny_repository: Path, tmp_path: Path):
    folder = broken(
        tiny_repository, tmp_path / "broken", lambda tensors: tensors.update(stray=torch.zeros(1))
    )
    with pytest.raises(CheckpointError, match=r"unexpected: stray$"):
        hub_models.load(folder)


def test_a_misshapen_head_is_listed_with_both_shapes(tiny_repository: Path, tmp_path: Path):
    key = "heads.transfer.members.0.0.bias"
    folder = broken(
        tiny_repository, tmp_path / "broken", lambda tensors: tensors.update({key: torch.zeros(9)})
    )
    with pytest.raises(CheckpointError, match=rf"mismatched: {key} \(checkpoint \[9\], model \[8\]\)$"):
        hub_models.load(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "modeling_image_uncertainty.py", "README.md"]
)
def test_an_altered_file_is_named(tiny_repository: Path, tmp_path: Path, name: str):
    folder = Path(shutil.copytree(tiny_repository, tmp_path / "altered"))
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(CheckpointError, match=f"{name}: altered or damaged"):
        hub_models.load(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"\xff" * 64),
        ("config.json", b"{"),
        ("config.json", b'{"model_type": "image_uncertainty", "num_classes": "many"}'),
        ("config.json", b'{"model_type": "nobody_knows", "auto_map": {"AutoConfig": "modeling.X"}}'),
    ],
)
def test_nonsense_under_a_matching_manifest_is_a_typed_error(
    tiny_repository: Path, tmp_path: Path, name: str, content: bytes
):
    folder = Path(shutil.copytree(tiny_repository, tmp_path / "nonsense"))
    (folder / name).write_bytes(content)
    write_manifest(folder)
    with pytest.raises(CheckpointError, match="nonsense: cannot be loaded"):
        hub_models.load(folder)


def test_our_loader_never_runs_code_from_the_folder(tiny_repository: Path, tmp_path: Path):
    folder = Path(shutil.copytree(tiny_repository, tmp_path / "hostile"))
    for path in folder.glob("*.py"):
        path.write_text("raise SystemExit('code from the folder ran')")
    write_manifest(folder)
    assert type(hub_models.load(folder)) is ImageUncertaintyModel
