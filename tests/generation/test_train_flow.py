from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from hub_models.checkpoint_folder import CHECKED_FILES, CHECKSUMS
from hub_models.errors import CheckpointError
from hub_models.generation.checkpoints import GOLDEN, WEIGHTS, load_pipeline, trained_steps
from hub_models.generation.train_flow import train_flow


def test_training_resumed_gives_the_weights_of_one_that_ran_through(write_recipe, tmp_path, monkeypatch):
    train_flow(write_recipe(steps=2), tmp_path / "resumed", show_progress=False)
    train_flow(write_recipe(steps=4), tmp_path / "resumed", show_progress=False)
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "other"))
    train_flow(write_recipe(steps=4), tmp_path / "straight", show_progress=False)
    one, other = (load_file(tmp_path / name / WEIGHTS) for name in ("resumed", "straight"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert trained_steps(tmp_path / "resumed") == 4


def test_trained_already_writes_the_same_again(write_recipe, tmp_path):
    train_flow(write_recipe(steps=2), tmp_path / "one", show_progress=False)
    train_flow(write_recipe(steps=2), tmp_path / "two", show_progress=False)
    assert (tmp_path / "one" / WEIGHTS).read_bytes() == (tmp_path / "two" / WEIGHTS).read_bytes()


def test_other_seed_other_weights(write_recipe, tmp_path):
    train_flow(write_recipe(steps=1), tmp_path / "one", show_progress=False)
    train_flow(write_recipe(steps=1, top="seed = 1"), tmp_path / "two", show_progress=False)
    assert (tmp_path / "one" / WEIGHTS).read_bytes() != (tmp_path / "two" / WEIGHTS).read_bytes()


def test_loaded_network_gives_the_golden_output(write_recipe, tmp_path):
    train_flow(write_recipe(), tmp_path / "made", show_progress=False)
    golden = load_file(tmp_path / "made" / GOLDEN)
    expected = golden.pop("velocity")
    pipe = load_pipeline(tmp_path / "made")
    with torch.no_grad():
        assert torch.allclose(pipe.unet(**golden).sample, expected, atol=1e-5)
    assert pipe.config.id2label["7"] == "7"


def test_a_flipped_byte_is_named(write_recipe, tmp_path):
    made = tmp_path / "made"
    train_flow(write_recipe(steps=1), made, show_progress=False)
    assert json.loads((made / CHECKSUMS).read_text())["trained_with"].keys() >= {"torch", "diffusers"}
    for name in CHECKED_FILES:
        whole = (made / name).read_bytes()
        (made / name).write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        with pytest.raises(CheckpointError, match=f"{name}: altered or damaged"):
            load_pipeline(made)
        (made / name).write_bytes(whole)
    load_pipeline(made)


def test_training_further_brings_the_checksums_along(write_recipe, tmp_path):
    made = tmp_path / "made"
    train_flow(write_recipe(steps=1), made, show_progress=False)
    before = (made / CHECKSUMS).read_text()
    train_flow(write_recipe(steps=2), made, show_progress=False)
    assert (made / CHECKSUMS).read_text() != before
    load_pipeline(made)


def test_damaged_or_missing_checkpoint_is_named(write_recipe, tmp_path):
    with pytest.raises(CheckpointError, match="no-such-model"):
        load_pipeline("no-such-model")
    train_flow(write_recipe(), tmp_path / "made", show_progress=False)
    weights = tmp_path / "made" / WEIGHTS
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="made"):
        load_pipeline(tmp_path / "made")
    weights.unlink()
    with pytest.raises(CheckpointError, match=WEIGHTS):
        load_pipeline(tmp_path / "made")
