from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers.dynamic_module_utils import get_relative_import_files

from hub_models.errors import CheckpointError
from hub_models.published_code import PACKAGE
from hub_models.publishing.export import export


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "tiny"))


def header(text: str) -> dict[str, object]:
    return dict(yaml.safe_load(text.split("---\n")[1]))


def test_a_second_export_gives_the_same_bytes(tiny_checkpoint: Path, tiny_repository: Path, tmp_path: Path):
    again = export(tiny_checkpoint, tmp_path / "hub")
    names = sorted(path.name for path in tiny_repository.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    for name in names:
        assert (again / name).read_bytes() == (tiny_repository / name).read_bytes(), name


def test_exporting_over_an_export_replaces_it_whole(
    tiny_checkpoint: Path, tiny_repository: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(tiny_repository, tmp_path / "hub/tiny"))
    (folder / "left_over.py").write_text("")
    assert export(tiny_checkpoint, tmp_path / "hub") == folder
    assert not (folder / "left_over.py").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_a_folder_that_is_no_export_is_left_alone(tiny_checkpoint: Path, tmp_path: Path):
    (tmp_path / "hub/tiny").mkdir(parents=True)
    (tmp_path / "hub/tiny/thesis.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match="tiny: exists and is no exported model; move it"):
        export(tiny_checkpoint, tmp_path / "hub")
    assert (tmp_path / "hub/tiny/thesis.tex").read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_named(tiny_checkpoint: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file/tiny: cannot be written"):
        export(tiny_checkpoint, tmp_path / "file")


def test_the_manifest_covers_every_file(tiny_repository: Path):
    manifest = json.loads((tiny_repository / "MANIFEST.json").read_text())
    assert set(manifest["files"]) == {path.name for path in tiny_repository.iterdir()} - {"MANIFEST.json"}
    assert {"hub-models", "torch", "timm", "transformers"} <= set(manifest["trained_with"])
    assert len(manifest["recipe_sha256"]) == 64


def test_nothing_in_it_is_a_pickle_or_private(tiny_repository: Path):
    suffixes = {path.suffix for path in tiny_repository.iterdir()}
    assert suffixes == {".json", ".py", ".safetensors", ".md", ""}
    assert not any(path.read_bytes().startswith((b"PK", b"\x80")) for path in tiny_repository.iterdir())
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in tiny_repository.iterdir())


def test_the_code_is_ours_byte_for_byte_and_what_transformers_looks_for(tiny_repository: Path):
    code = {path.name for path in tiny_repository.glob("*.py")}
    for name in code:
        assert (tiny_repository / name).read_bytes() == (PACKAGE / name).read_bytes()
    entries = [f"{part}_image_uncertainty.py" for part in ("configuration", "modeling", "pipeline")]
    wanted = {
        Path(each).name for entry in entries for each in get_relative_import_files(tiny_repository / entry)
    }
    assert code == wanted | set(entries)


def test_the_configuration_names_the_code(tiny_repository: Path):
    config = json.loads((tiny_repository / "config.json").read_text())
    assert config["auto_map"] == {
        "AutoConfig": "configuration_image_uncertainty.ImageUncertaintyConfig",
        "AutoModel": "modeling_image_uncertainty.ImageUncertaintyModel",
    }
    assert config["custom_pipelines"] == {
        "image-uncertainty": {
            "impl": "pipeline_image_uncertainty.ImageUncertaintyPipeline",
            "pt": ["AutoModel"],
            "type": "image",
        }
    }


def test_the_weights_are_backbone_and_heads_in_float32(tiny_checkpoint: Path, tiny_repository: Path):
    weights = load_file(tiny_repository / "model.safetensors")
    heads = load_file(tiny_checkpoint / "model.safetensors")
    backbone = load_file(tiny_checkpoint.parent / "backbone.safetensors")
    assert weights.keys() == heads.keys() | {f"backbone.{key}" for key in backbone}
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32, torch.int64}
    assert all(torch.equal(weights[f"backbone.{key}"], value) for key, value in backbone.items())


def test_the_card_says_whose_licence_holds(tiny_repository: Path):
    text = (tiny_repository / "README.md").read_text()
    metadata = header(text)
    assert metadata["license"] == "other"
    assert metadata["license_name"] == "research-only"
    assert metadata["library_name"] == "transformers"
    assert metadata["base_model"] == "timm/test_efficientnet.r160_in1k"
    assert "image-uncertainty" in metadata["tags"]
    assert "The weights: **research-only**" in text
    assert "64 images: noise" in text
    assert "Not evaluated yet." in text
    assert "Apache License" in (tiny_repository / "LICENSE").read_text()


def test_a_tensor_that_does_not_fit_is_found_at_export(checkpoint: Path, tmp_path: Path):
    config = json.loads((checkpoint / "config.json").read_text())
    config["read_outs"]["error"]["width"] = 9
    (checkpoint / "config.json").write_text(json.dumps(config))
    sign(checkpoint)
    with pytest.raises(
        CheckpointError, match=r"mismatched: heads\.error\.members\.0\.0\.bias \(checkpoint \[8\]"
    ):
        export(checkpoint, tmp_path / "hub")
    assert not (tmp_path / "hub/tiny").exists()


def sign(checkpoint: Path) -> None:
    """Make the checksums those of the files as they are."""
    from hub_models.atomic import file_sha256

    checksums = json.loads((checkpoint / "checksums.json").read_text())
    checksums["files"] = {name: file_sha256(checkpoint / name) for name in checksums["files"]}
    (checkpoint / "checksums.json").write_text(json.dumps(checksums))
