from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import hub_models
from hub_models import paths, zoo
from hub_models.errors import CheckpointError
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def released(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """A zoo of one model, ``tiny``, seen from an empty current directory."""
    shutil.copytree(tiny_checkpoint, tmp_path / "checkpoints" / "tiny")
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path / "checkpoints")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "checkpoints" / "tiny"


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_an_entry_tells_what_a_list_needs(released: Path):
    [entry] = hub_models.list_models()
    heads = load_file(released / "model.safetensors")
    assert (entry.name, entry.task, entry.backbone) == ("tiny", "image-uncertainty", "test_efficientnet")
    assert entry.size == (released / "model.safetensors").stat().st_size
    assert entry.parameters == sum(tensor.numel() for tensor in heads.values())
    assert entry.licence == "research-only"
    assert entry.headline is None


def test_the_headline_is_the_error_read_out_of_the_released_seed(released: Path):
    line = {
        "model": "tiny",
        "seed": 0,
        "task": "errors-photos@1",
        "metric": "auroc",
        "read_out": "error",
        "value": 0.8,
        "low": 0.7,
        "high": 0.9,
    }
    lines = [line, {**line, "seed": 1, "value": 0.1}, {**line, "read_out": "entropy", "value": 0.7}]
    (released / "results.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    assert hub_models.list_models()[0].headline == "AUROC for mistakes on photos 0.800 [0.700, 0.900]"


def test_a_broken_results_file_is_named(released: Path):
    (released / "results.jsonl").write_text("{}\n")
    with pytest.raises(CheckpointError, match=r"results\.jsonl.*not a result"):
        hub_models.list_models()


def test_load_gives_our_class_in_eval_mode_with_the_golden_output(released: Path):
    model = hub_models.load("tiny")
    golden = load_file(released / "golden.safetensors")
    assert type(model) is ImageUncertaintyModel
    assert not model.training
    with torch.no_grad():
        output = model(golden["pixel_values"])
    torch.testing.assert_close(output.uncertainty, golden["uncertainty"], atol=1e-5, rtol=0)


def test_load_puts_the_model_where_it_is_told(released: Path):
    assert hub_models.load("tiny", device="meta").device == torch.device("meta")


def test_the_image_processor_makes_the_input_of_the_backbone(released: Path):
    from PIL import Image

    processor = hub_models.load_image_processor("tiny")
    assert processor(Image.new("RGB", (300, 200)), return_tensors="pt")["pixel_values"].shape == (
        1,
        3,
        160,
        160,
    )


def test_the_assembled_repository_is_kept_and_reused(released: Path, cache: Path):
    first = zoo.resolve("tiny")
    written = (first / "MANIFEST.json").stat().st_mtime_ns
    assert first.is_relative_to(cache)
    assert zoo.resolve("tiny") == first
    assert (first / "MANIFEST.json").stat().st_mtime_ns == written


def test_other_content_is_assembled_anew(released: Path):
    first = zoo.resolve("tiny")
    checksums = json.loads((released / "checksums.json").read_text())
    (released / "checksums.json").write_text(json.dumps({**checksums, "note": "retrained"}))
    assert zoo.resolve("tiny") != first


def test_a_folder_comes_before_an_export_and_an_export_before_a_release(
    released: Path, tiny_repository: Path
):
    assembled = zoo.resolve("tiny")
    exported = Path("dist/hub/tiny").absolute()
    shutil.copytree(tiny_repository, exported)
    assert zoo.resolve("tiny") == exported != assembled
    shutil.copytree(tiny_repository, "tiny")
    assert zoo.resolve("tiny") == Path("tiny").absolute()


def test_a_folder_that_is_no_model_does_not_hide_a_released_one(released: Path, cache: Path):
    Path("tiny").mkdir()
    assert zoo.resolve("tiny").is_relative_to(cache)


def test_a_checkpoint_in_source_form_is_loaded_from_its_folder(tiny_checkpoint: Path, cache: Path):
    assert zoo.resolve(tiny_checkpoint).is_relative_to(cache)


def test_an_unknown_name_gives_the_nearest_and_the_next_command(released: Path):
    with pytest.raises(
        CheckpointError, match=r"'tinny' is not in the zoo; did you mean tiny\? `hub-models list`"
    ):
        hub_models.load("tinny")


def test_a_folder_without_a_model_is_refused(released: Path):
    Path("photos").mkdir()
    with pytest.raises(CheckpointError, match=r"photos: holds neither MANIFEST\.json nor recipe\.toml"):
        hub_models.load("photos")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "golden.safetensors", "recipe.toml"])
def test_a_flipped_byte_in_a_released_file_is_named(released: Path, name: str):
    flip_a_byte(released / name)
    with pytest.raises(CheckpointError, match=f"{name}: altered or damaged"):
        hub_models.load("tiny")


def test_a_flipped_byte_in_the_cache_is_named(released: Path):
    flip_a_byte(zoo.resolve("tiny") / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: altered or damaged"):
        hub_models.load("tiny")


def test_other_backbone_weights_than_those_trained_on_are_refused(released: Path):
    checksums = json.loads((released / "checksums.json").read_text())
    checksums["backbone_sha256"] = "0" * 64
    (released / "checksums.json").write_text(json.dumps(checksums))
    with pytest.raises(CheckpointError, match=r"recipe\.toml: backbone weights .* are not those"):
        hub_models.load("tiny")


def test_of_two_processes_that_want_the_same_model_one_assembles_it(released: Path, cache: Path):
    code = """
import pathlib, sys
from hub_models import paths, repository, zoo
paths.CHECKPOINTS = pathlib.Path(sys.argv[1])
assemble = repository.assemble
repository.assemble = lambda *arguments: (print("assembled"), assemble(*arguments))
print(zoo.resolve("tiny"))
"""
    start = [sys.executable, "-c", code, str(released.parent)]
    processes = [subprocess.Popen(start, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [line for process in processes for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(lines, reverse=True) == ["assembled", *2 * [str(zoo.resolve("tiny"))]]
