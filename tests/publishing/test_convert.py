from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModel
from typer.testing import CliRunner

import hub_models
from hub_models.cli.convert import COMMANDS
from hub_models.errors import BackboneError, CheckpointError
from hub_models.publishing.convert import convert_authors_checkpoint

BACKBONE = "vit_tiny_patch16_224.augreg_in21k"
CLASSES = 50  # 21,843 in the released files


def released(width: int = 512, depth: int = 2, backbone: str = BACKBONE) -> dict[str, Tensor]:
    """A state dict in the layout of the released files, with random weights."""
    torch.manual_seed(0)
    model = timm.create_model(backbone, pretrained=False, num_classes=CLASSES)
    state = OrderedDict((f"model.{key}", value) for key, value in model.state_dict().items())
    sizes = [model.num_features] + [width] * depth + [1]
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        state[f"unc_module.unc_module.{2 * layer}.weight"] = torch.randn(fan_out, fan_in) / fan_in**0.5
        state[f"unc_module.unc_module.{2 * layer}.bias"] = torch.randn(fan_out)
    return state


def save(document: Any, path: Path) -> tuple[Path, str]:
    torch.save(document, path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def convert(document: Any, folder: Path, backbone: str = BACKBONE) -> Path:
    path, sha256 = save(document, folder / "released.pth.tar")
    return convert_authors_checkpoint(path, backbone, folder / "converted", sha256)


@torch.inference_mode()
def by_hand(state: dict[str, Tensor], pixels: Tensor, depth: int = 2) -> tuple[Tensor, Tensor]:
    """Logits and uncertainty as the released code computes them, from plain timm and torch modules."""
    backbone = timm.create_model(BACKBONE, pretrained=False, num_classes=CLASSES).eval()
    backbone.load_state_dict({k[6:]: v.float() for k, v in state.items() if k.startswith("model.")})
    layers: list[nn.Module] = []
    for layer in range(0, 2 * depth + 1, 2):
        weight = state[f"unc_module.unc_module.{layer}.weight"]
        layers += [nn.Linear(weight.shape[1], weight.shape[0]), nn.LeakyReLU()]
    head = nn.Sequential(*layers[:-1], nn.Softplus())
    prefix = "unc_module.unc_module."
    head.load_state_dict({k.removeprefix(prefix): v.float() for k, v in state.items() if prefix in k})
    features = backbone.forward_features(pixels)
    pre_logits = backbone.forward_head(features, pre_logits=True)
    return backbone.head(pre_logits), head(pre_logits).squeeze(-1) + 1e-6


def namespace() -> argparse.Namespace:
    return argparse.Namespace(model="vit", lr=1e-3, seeds=(1, 2))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "arch": "vit", "state_dict": state, "optimizer": {"lr": 1e-3}},
        lambda state: {
            "state_dict": released(backbone="vit_tiny_patch16_224", width=8),
            "state_dict_ema": state,
        },
        lambda state: {"state_dict": state, "args": namespace(), "version": 2, "metric": 0.5},
        lambda state: {key: value.half() for key, value in state.items()},
    ],
    ids=["plain", "nested", "averaged", "trainer options", "half precision"],
)
def test_the_converted_model_computes_what_the_released_code_does(wrap: Any, tmp_path: Path) -> None:
    document = wrap(released())
    folder = convert(document, tmp_path)
    model = hub_models.load(folder)
    state = document.get("state_dict_ema", document.get("state_dict", document))
    pixels = torch.randn(3, 3, 224, 224)
    logits, uncertainty = by_hand(state, pixels)
    with torch.inference_mode():
        output = model(pixels)
    torch.testing.assert_close(output.logits, logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.uncertainties["loss"], uncertainty, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output.uncertainty, uncertainty.log(), rtol=1e-4, atol=1e-5)
    assert output.uncertainty_percentile.isnan().all()


@pytest.mark.parametrize(
    ("key", "scaler"), [("unc_scaler", 0.25), ("unc_module.unc_scaler", torch.tensor([0.25]))]
)
def test_the_scaler_becomes_part_of_the_default(key: str, scaler: Any, tmp_path: Path) -> None:
    state = released(width=16, depth=1)
    model = hub_models.load(convert({**state, key: scaler}, tmp_path))
    pixels = torch.randn(2, 3, 224, 224)
    _, uncertainty = by_hand(state, pixels, depth=1)
    with torch.inference_mode():
        output = model(pixels)
    torch.testing.assert_close(output.uncertainty, (0.25 * uncertainty).log(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scaler", [torch.zeros(1), torch.tensor(torch.nan), torch.ones(2), -1.0, None])
def test_a_scaler_that_is_no_positive_number_is_refused(scaler: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="unc_scaler must be one positive number"):
        convert({**released(8, 1), "unc_scaler": scaler}, tmp_path)


@pytest.mark.parametrize(("width", "depth"), [(512, 2), (1024, 3), (8, 1)])
def test_width_depth_and_classes_are_read_from_the_tensors(width: int, depth: int, tmp_path: Path) -> None:
    config = hub_models.load(convert(released(width, depth), tmp_path)).config
    assert config.read_outs == {"loss": {"inputs": ["pooled"], "width": width, "depth": depth}}
    assert (config.backbone, config.num_classes, config.image_size) == (BACKBONE, CLASSES, 224)


def test_without_a_classifier_there_are_no_logits(tmp_path: Path) -> None:
    state = {key: value for key, value in released(8, 1).items() if not key.startswith("model.head.")}
    assert hub_models.load(convert(state, tmp_path)).config.num_classes == 0


def test_the_folder_is_a_model_repository(tmp_path: Path) -> None:
    folder = convert(released(8, 1), tmp_path)
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "MANIFEST.json"} <= set(
        os.listdir(folder)
    )
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    assert model.config.model_type == "image_uncertainty"
    processor = AutoImageProcessor.from_pretrained(folder)
    assert processor.crop_size["height"] == 224
    assert list(processor.image_mean) == [0.5, 0.5, 0.5]
    assert all(tensor.dtype == torch.float32 for tensor in load_file(folder / "model.safetensors").values())


class Boom:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch pwned",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickled_object_is_refused_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth.tar"
    for write in (
        lambda: torch.save({"state_dict": released(8, 1), "args": Boom()}, path),
        lambda: path.write_bytes(pickle.dumps(Boom())),
        lambda: torch.save(Boom(), path, _use_new_zipfile_serialization=False),
    ):
        write()
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        with pytest.raises(
            CheckpointError, match=r"evil\.pth\.tar: damaged, or holds other objects than tensors"
        ):
            convert_authors_checkpoint(path, BACKBONE, tmp_path / "converted", sha256)
    assert os.listdir(tmp_path) == ["evil.pth.tar"]


def test_a_wrong_hash_is_refused_before_opening_and_the_real_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth.tar"
    path.write_bytes(pickle.dumps(Boom()))
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match=f"its sha256 is {actual}, not {'0' * 64}; compare it with"):
        convert_authors_checkpoint(path, BACKBONE, tmp_path / "converted", "0" * 64)
    with pytest.raises(CheckpointError, match=r"gone\.pth: no such file"):
        convert_authors_checkpoint(tmp_path / "gone.pth", BACKBONE, tmp_path / "converted", actual)


def test_a_hash_in_capitals_is_the_same_hash(tmp_path: Path) -> None:
    path, sha256 = save(released(8, 1), tmp_path / "released.pth.tar")
    convert_authors_checkpoint(path, BACKBONE, tmp_path / "converted", sha256.upper())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.blocks.3.attn.qkv.bias"), r"missing: model\.blocks\.3\.attn\.qkv\.bias"),
        (lambda s: s.update({"loss.kappa": torch.ones(1)}), r"unexpected: loss\.kappa$"),
        (lambda s: s.pop("unc_module.unc_module.2.bias"), r"missing: unc_module\.unc_module\.2\.bias$"),
        (
            lambda s: s.update({"unc_module.unc_module.2.weight": torch.ones(8, 9)}),
            r"misshapen: unc_module\.unc_module\.2\.weight \(file \[8, 9\], model \[8, 8\]\)",
        ),
        (
            lambda s: s.update({"model.norm.bias": torch.ones(3)}),
            r"model\.norm\.bias \(file \[3\], model \[192\]",
        ),
        (lambda s: s.pop("unc_module.unc_module.0.weight"), "no uncertainty head"),
        (lambda s: s.update({"unc_module.unc_module.0.weight": torch.ones(8)}), "no uncertainty head"),
        (lambda s: s.update({"epoch": 3}), "not tensors: epoch; is it a state dict"),
    ],
)
def test_what_does_not_fit_is_listed_by_its_name_in_the_file(
    change: Any, message: str, tmp_path: Path
) -> None:
    state = released(8, 2)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        convert(state, tmp_path)
    assert not (tmp_path / "converted").exists()


def test_another_backbone_lists_every_key(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="does not fit backbone vit_small_patch16_224; check its name"
    ) as error:
        convert(released(8, 1), tmp_path, backbone="vit_small_patch16_224")
    assert str(error.value).count("(file [") > 100
    with pytest.raises(BackboneError, match="did you mean vit_tiny_patch16_224"):
        convert(released(8, 1), tmp_path, backbone="vit_tiny_patch16_22")


@pytest.mark.parametrize("document", [[], torch.ones(3), {}, {"state_dict": {}}, {3: torch.ones(2)}])
def test_a_file_without_a_state_dict_is_refused(document: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no state dict|no uncertainty head"):
        convert(document, tmp_path)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path, _ = save(released(8, 1), tmp_path / "released.pth.tar")
    path.write_bytes(path.read_bytes()[:100_000])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match=r"released\.pth\.tar: damaged"):
        convert_authors_checkpoint(path, BACKBONE, tmp_path / "converted", sha256)


def test_a_folder_that_is_no_model_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "converted").mkdir()
    (tmp_path / "converted" / "diary.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="converted: exists and is no exported model"):
        convert(released(8, 1), tmp_path)
    assert (tmp_path / "converted" / "diary.txt").read_text() == "mine"


def test_the_command_converts_and_says_what_comes_next(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(COMMANDS["convert"])
    path, sha256 = save(released(8, 1), tmp_path / "released.pth.tar")
    arguments = [path, "--backbone", BACKBONE, "--sha256", sha256, "--out", tmp_path / "converted"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "hub-models recalibrate" in result.output
    assert hub_models.load(tmp_path / "converted").config.backbone == BACKBONE


def test_the_command_imports_nothing_heavy_by_itself() -> None:
    code = "import hub_models.cli.convert, sys; print({'torch', 'timm', 'transformers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
