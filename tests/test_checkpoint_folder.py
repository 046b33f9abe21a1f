from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hub_models.assembly import new_model
from hub_models.checkpoint_folder import (
    CHECKED_FILES,
    is_checkpoint_folder,
    open_checkpoint,
    read_recipe,
    save_checkpoint,
    tensors_sha256,
)
from hub_models.configuration_image_uncertainty import ImageUncertaintyConfig
from hub_models.errors import CheckpointError
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "tiny"))


@pytest.fixture
def model(tiny_checkpoint: Path) -> ImageUncertaintyModel:
    """An untrained model on the tiny checkpoint's backbone."""
    config = ImageUncertaintyConfig.from_pretrained(tiny_checkpoint)
    return new_model(config, read_recipe(tiny_checkpoint / "recipe.toml")["weights"])


def test_what_was_saved_is_what_the_model_holds_but_for_the_backbone(
    model: ImageUncertaintyModel, tiny_checkpoint: Path, tmp_path: Path
):
    save_checkpoint(model, tmp_path / "new", tiny_checkpoint / "recipe.toml")
    saved = load_file(tmp_path / "new/model.safetensors")
    expected = {key: value for key, value in model.state_dict().items() if not key.startswith("backbone.")}
    assert saved.keys() == expected.keys()
    assert all(torch.equal(saved[key], expected[key]) or expected[key].isnan().any() for key in saved)
    assert ImageUncertaintyConfig.from_pretrained(tmp_path / "new").to_dict() == model.config.to_dict()


def test_golden_tensors_are_the_models_output(tiny_checkpoint: Path):
    golden = load_file(tiny_checkpoint / "golden.safetensors")
    assert set(golden) == {
        "pixel_values",
        "uncertainty",
        "uncertainty_percentile",
        "logits",
        "pooler_output",
        "reference_distance",
        "uncertainties.error",
        "uncertainties.transfer",
    }
    assert golden["pixel_values"].shape == (2, 3, 64, 64)
    assert golden["uncertainty"].shape == golden["uncertainties.error"].shape == (2,)
    assert not torch.equal(golden["pixel_values"][0], golden["pixel_values"][1])


def test_saving_leaves_the_model_as_it_was(
    model: ImageUncertaintyModel, tiny_checkpoint: Path, tmp_path: Path
):
    model.half().train()
    save_checkpoint(model, tmp_path / "new", tiny_checkpoint / "recipe.toml")
    assert model.training
    assert model.dtype == torch.float16
    assert {t.dtype for t in load_file(tmp_path / "new/model.safetensors").values()} == {torch.float32}


def test_saving_in_place_keeps_the_recipe_and_the_results(model: ImageUncertaintyModel, checkpoint: Path):
    recipe = (checkpoint / "recipe.toml").read_bytes()
    (checkpoint / "results.jsonl").write_text("")
    save_checkpoint(model, checkpoint, checkpoint / "recipe.toml")
    assert (checkpoint / "recipe.toml").read_bytes() == recipe
    assert (checkpoint / "results.jsonl").exists()
    open_checkpoint(checkpoint)


def test_the_same_model_gives_the_same_bytes(
    model: ImageUncertaintyModel, tiny_checkpoint: Path, tmp_path: Path
):
    for name in ("a", "b"):
        save_checkpoint(model, tmp_path / name, tiny_checkpoint / "recipe.toml")
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_a_trained_part_too_large_for_git_is_refused(tiny_checkpoint: Path, tmp_path: Path):
    config = ImageUncertaintyConfig(
        backbone="test_efficientnet", image_size=64, read_outs={"big": {"inputs": ["pooled"], "width": 2000}}
    )
    model = new_model(config, read_recipe(tiny_checkpoint / "recipe.toml")["weights"])
    with pytest.raises(
        CheckpointError, match="MiB of tensors, the limit is 10; make the trained part smaller"
    ):
        save_checkpoint(model, tmp_path / "new", tiny_checkpoint / "recipe.toml")


@pytest.mark.parametrize("field", ["name", "task", "licence", "weights", "summary"])
def test_a_recipe_without_a_field_is_refused_by_name(tmp_path: Path, tiny_checkpoint: Path, field: str):
    lines = (tiny_checkpoint / "recipe.toml").read_text().splitlines()
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("\n".join(line for line in lines if not line.startswith(field)))
    with pytest.raises(CheckpointError, match=rf"recipe\.toml: field '{field}' is missing"):
        read_recipe(recipe)


def test_a_recipe_that_is_not_toml_is_named(tmp_path: Path):
    (tmp_path / "recipe.toml").write_text("name = ")
    with pytest.raises(CheckpointError, match=r"recipe\.toml: not a readable recipe"):
        read_recipe(tmp_path / "recipe.toml")


@pytest.mark.parametrize("name", CHECKED_FILES)
def test_a_missing_file_is_named(checkpoint: Path, name: str):
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}: missing"):
        open_checkpoint(checkpoint)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"files": {"../x": "0"}}', '{"files": {"config.json": 1}}']
)
def test_damaged_checksums_are_named(checkpoint: Path, content: str):
    (checkpoint / "checksums.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"checksums\.json: damaged"):
        open_checkpoint(checkpoint)


def test_checksums_that_leave_a_file_out_are_refused(checkpoint: Path):
    (checkpoint / "checksums.json").write_text('{"files": {}}')
    with pytest.raises(CheckpointError, match=r"checksums\.json: does not list recipe\.toml"):
        open_checkpoint(checkpoint)


def test_an_unknown_task_is_refused(checkpoint: Path):
    opened = open_checkpoint(checkpoint)
    opened.recipe["task"] = "fortune-telling"  # type: ignore[index]
    with pytest.raises(CheckpointError, match="'fortune-telling' is unknown; choose from image-uncertainty"):
        _ = opened.family


def test_only_a_folder_with_recipe_and_checksums_is_a_checkpoint(checkpoint: Path):
    assert is_checkpoint_folder(checkpoint)
    assert not is_checkpoint_folder(checkpoint.parent)


def test_the_hash_of_tensors_sees_names_types_shapes_and_values_but_not_order():
    a, b = torch.arange(6.0), torch.zeros(2)
    reference = tensors_sha256({"a": a, "b": b})
    assert tensors_sha256({"b": b, "a": a}) == reference
    others = [
        {"a": b, "b": a},
        {"a": a.reshape(2, 3), "b": b},
        {"a": a.double(), "b": b},
        {"a": a + 1, "b": b},
        {"a": a},
    ]
    assert len({reference, *map(tensors_sha256, others)}) == 6
