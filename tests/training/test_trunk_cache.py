from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from hub_models.errors import BackboneError, FeatureCacheError
from hub_models.image_sources import FolderSource, read_source_image
from hub_models.training.backbone_cut import cut_backbone
from hub_models.training.trunk_cache import TrunkCache, build_trunk_cache
from hub_models.training.views import ViewMaker, Views

from ..generated_images import write_images
from .tiny_caches import processor

VIEWS = Views(crops=2, seed=3)
COUNT = 18  # more than one block


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_efficientnet", num_classes=0).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), COUNT)


def build(trunk: nn.Module, folder: Path, root: Path) -> TrunkCache:
    return build_trunk_cache(
        trunk, "test_efficientnet", processor(), FolderSource(folder), VIEWS, root, show_progress=False
    )


@pytest.mark.parametrize("stages", [0, 1, 2])
@torch.no_grad()
def test_the_two_parts_of_a_cut_backbone_are_the_backbone(backbone: nn.Module, stages: int) -> None:
    pixels = torch.randn(2, 3, 32, 32)
    cut = cut_backbone(backbone, stages)
    expected = backbone.forward_head(backbone.forward_features(pixels), pre_logits=True)
    torch.testing.assert_close(cut.rest(cut.trunk(pixels)), expected)
    named = {name for name, _ in backbone.named_parameters()}
    trained = {name for name in named if name.startswith(tuple(f"{module}." for module in cut.trained))}
    in_rest = {id(parameter) for parameter in cut.rest.parameters()}
    assert trained == {name for name, parameter in backbone.named_parameters() if id(parameter) in in_rest}


def test_backbones_that_cannot_be_cut_are_refused(backbone: nn.Module) -> None:
    with pytest.raises(BackboneError, match="choose an EfficientNet"):
        cut_backbone(timm.create_model("test_vit"), 1)
    with pytest.raises(BackboneError, match="it must be from 0 to"):
        cut_backbone(backbone, 99)


@torch.no_grad()
def test_it_holds_the_map_of_every_view_of_every_image(
    backbone: nn.Module, folder: Path, tmp_path: Path
) -> None:
    trunk = cut_backbone(backbone, 1).trunk
    cache = build(trunk, folder, tmp_path)
    assert len(cache) == COUNT
    source, maker = FolderSource(folder), ViewMaker(processor(), VIEWS)

    for index in (0, COUNT - 1):
        digest = sha256(source.read_bytes(index)).hexdigest()
        for view in range(VIEWS.count):
            pixels = maker.make(read_source_image(source, index), digest, view)
            expected = trunk(pixels[None])
            found = cache.read(np.array([index]), np.array([view]))
            torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)
    assert cache.read(np.array([3, 1])).is_contiguous(memory_format=torch.channels_last)


def test_it_is_opened_again_and_a_damaged_block_is_made_again(
    backbone: nn.Module, folder: Path, tmp_path: Path
) -> None:
    trunk = cut_backbone(backbone, 1).trunk
    cache = build(trunk, folder, tmp_path)
    file = cache.cached.directory / "features.safetensors"
    whole, changed = file.read_bytes(), file.stat().st_mtime_ns
    assert build(trunk, folder, tmp_path).cached.directory == cache.cached.directory
    assert file.stat().st_mtime_ns == changed
    with file.open("r+b") as opened:
        opened.seek(-4, 2)
        opened.write(b"\0\0\0\0")
    build(trunk, folder, tmp_path)
    assert file.read_bytes() == whole
    assert 2 * np.prod(cache.shape) * COUNT * VIEWS.count < len(whole) < 4 * np.prod(cache.shape) * COUNT * 3


def test_other_weights_make_another_cache(backbone: nn.Module, folder: Path, tmp_path: Path) -> None:
    first = build(cut_backbone(backbone, 1).trunk, folder, tmp_path)
    torch.manual_seed(1)
    other = timm.create_model("test_efficientnet", num_classes=0).eval()
    second = build(cut_backbone(other, 1).trunk, folder, tmp_path)
    assert first.cached.directory != second.cached.directory


def test_an_unreadable_image_is_skipped_by_name(backbone: nn.Module, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 3)
    (folder / "0001.png").write_bytes(b"no image")
    cache = build(cut_backbone(backbone, 1).trunk, folder, tmp_path / "root")
    assert cache.cached.readable.tolist() == [True, False, True]
    assert list(cache.cached.skipped) == ["0001.png"]
    assert cache.read(np.array([0, 2])).isfinite().all()


def test_a_cut_file_is_refused(backbone: nn.Module, folder: Path, tmp_path: Path) -> None:
    trunk = cut_backbone(backbone, 1).trunk
    file = build(trunk, folder, tmp_path).cached.directory / "features.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(FeatureCacheError, match="cut short"):
        build(trunk, folder, tmp_path)


def test_values_beyond_half_precision_are_refused(backbone: nn.Module, folder: Path, tmp_path: Path) -> None:
    class Huge(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels * 1e6

    with pytest.raises(BackboneError, match="beyond half precision"):
        build(Huge(), folder, tmp_path)
