"""Sets of references on disk: built, resumed, opened, changed, checked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file

from hub_models.spell import spell_reference_building
from hub_models.spell.spell_encoding import vae_latents
from hub_models.spell.spell_errors import ReferencesError
from hub_models.spell.spell_references import ReferenceSet

SHAPE = (4, 8, 8)


def latents(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def tiny_vae(seed: int = 0, **config: float) -> AutoencoderKL:
    torch.manual_seed(seed)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
        **config,
    ).eval()


def photos(count: int) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 references of SHAPE a shard."""
    monkeypatch.setattr(spell_reference_building, "SHARD_BYTES", 64 * 2 * 256)


def test_latents_come_back_as_fp16_of_what_was_given(tmp_path: Path) -> None:
    given = latents(10)
    built = ReferenceSet.build(latents=given, folder=tmp_path, names=[f"n{i}" for i in range(10)])
    assert len(built) == 10
    assert built.sample_shape == SHAPE
    assert torch.equal(built.rows(range(10)), given.half().float())
    assert built.name(7) == ("n7", "whole")
    opened = ReferenceSet.open(tmp_path)
    assert torch.equal(opened.rows([3, 1, 3]), given[[3, 1, 3]].half().float())
    assert torch.equal(load_file(tmp_path / "shard-00000.safetensors")["rows"], given.half().flatten(1))


def test_images_become_the_scaled_and_shifted_mean_of_the_vae(tmp_path: Path) -> None:
    vae = tiny_vae(scaling_factor=0.3, shift_factor=0.2)
    pixels = torch.rand(3, 3, 16, 16) * 2 - 1
    built = ReferenceSet.build(pixels, folder=tmp_path, vae=vae)
    with torch.no_grad():
        expected = (vae.encode(pixels).latent_dist.mean - 0.2) * 0.3
    assert torch.allclose(built.rows(range(3)), expected, atol=2e-3)
    assert built.origin.resolution == (16, 16)


def test_channelwise_statistics_of_a_vae_are_used(tmp_path: Path) -> None:
    vae = tiny_vae(scaling_factor=0.5)
    vae.register_to_config(latents_mean=[1.0, 2, 3, 4], latents_std=[2.0, 2, 4, 4])
    pixels = torch.zeros(1, 3, 16, 16)
    with torch.no_grad():
        mean = vae.encode(pixels).latent_dist.mean
        shift, scale = torch.tensor([1.0, 2, 3, 4]), torch.tensor([2.0, 2, 4, 4])
        expected = (mean - shift[:, None, None]) / scale[:, None, None] * 0.5
        assert torch.allclose(vae_latents(vae, pixels), expected, atol=1e-6)


def test_paths_photos_and_views_of_a_pixel_model(tmp_path: Path) -> None:
    paths = []
    for i, photo in enumerate(photos(2)):
        photo.save(tmp_path / f"{i}.png")
        paths.append(tmp_path / f"{i}.png")
    built = ReferenceSet.build(
        paths, folder=tmp_path / "set", resolution=(8, 12), names=["a", "b"], flip=True, crops=[0.25]
    )
    assert built.sample_shape == (3, 8, 12)
    assert len(built) == 8
    rows = built.rows(range(8))
    assert torch.equal(rows[5], rows[4].flip(-1))
    assert torch.equal(rows[7], rows[6].flip(-1))
    assert not torch.equal(rows[6], rows[4])
    assert built.name(7) == ("b", "crop 0.25 flip")
    assert rows.abs().max() <= 1
    built.remove(["a"])
    assert len(built) == 4
    assert {built.name(int(n))[0] for n in built.live()} == {"b"}


def test_greyscale_images(tmp_path: Path) -> None:
    built = ReferenceSet.build(photos(2), folder=tmp_path, resolution=8, channels=1)
    assert built.sample_shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "pass either images or latents"),
        ({"latents": torch.zeros(0, 4, 8, 8)}, "an empty set protects nothing"),
        ({"images": []}, "an empty set protects nothing"),
        ({"images": photos(1)}, "say resolution="),
        ({"latents": torch.zeros(2, 4, 8, 8), "names": ["a"]}, "1 names for 2 items"),
        ({"latents": torch.zeros(2, 4, 8, 8), "names": ["a", "a"]}, "repeated names: a"),
        ({"latents": torch.zeros(2, 4, 8, 8), "flip": True}, "made from images"),
        ({"latents": torch.full((2, 4, 8, 8), torch.nan)}, "^0: its reference has largest magnitude nan"),
        ({"latents": torch.full((2, 4, 8, 8), 7e4)}, "beyond what fp16 holds"),
        ({"latents": torch.zeros(3)}, r"shape \(N, \*sample shape\)"),
        ({"images": torch.zeros(1, 3, 8, 8), "resolution": 16}, "resize it"),
        ({"images": torch.zeros(1, 3, 8, 8), "crops": [0.7]}, "between 0 and 0.5"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ReferencesError, match=message):
        ReferenceSet.build(**arguments, folder=tmp_path)


def test_another_vae_or_resolution_is_refused_with_both_named(tmp_path: Path) -> None:
    vae = tiny_vae()
    ReferenceSet.build(torch.zeros(1, 3, 16, 16), folder=tmp_path, vae=vae)
    ReferenceSet.open(tmp_path, vae=vae, resolution=16)
    with pytest.raises(
        ReferencesError, match=r"made for AutoencoderKL \w+ .* 16x16, not for AutoencoderKL \w+"
    ):
        ReferenceSet.open(tmp_path, vae=tiny_vae(seed=1))
    with pytest.raises(ReferencesError, match=r"16x16, not for AutoencoderKL .* at 32x32"):
        ReferenceSet.open(tmp_path, vae=vae, resolution=32)
    with pytest.raises(ReferencesError, match="not for pixels"):
        ReferenceSet.open(tmp_path).add(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_same_vae_in_half_precision_is_recognised(tmp_path: Path, dtype: torch.dtype) -> None:
    ReferenceSet.build(torch.zeros(1, 3, 16, 16), folder=tmp_path / "a", vae=tiny_vae())
    ReferenceSet.open(tmp_path / "a", vae=tiny_vae().to(dtype))
    ReferenceSet.build(latents=latents(1), folder=tmp_path / "b", vae=tiny_vae().to(dtype))
    ReferenceSet.open(tmp_path / "b", vae=tiny_vae())
    with pytest.raises(ReferencesError):
        ReferenceSet.open(tmp_path / "a", vae=tiny_vae(seed=1).to(dtype))


@pytest.mark.usefixtures("small_shards")
def test_add_and_remove_keep_numbers_names_and_search_in_step(tmp_path: Path) -> None:
    given = latents(200)
    built = ReferenceSet.build(latents=given, folder=tmp_path)
    built.remove(["5", "150"])
    built.add(latents=latents(3, seed=1), names=["x", "y", "z"])
    built.remove(["y"])
    for references in (built, ReferenceSet.open(tmp_path)):
        references.verify()
        assert len(references) == 200
        assert references.name(202) == ("z", "whole")
        number, distance = references.nearest(
            torch.cat([given[[5, 6]], latents(3, 1)]).half().float().flatten(1)
        )
        assert number.tolist()[1:3] == [6, 200]
        assert number[4] == 202
        assert number[0] != 5
        assert number[3] != 201
        assert distance[1] == 0
    assert (ReferenceSet.open(tmp_path)._reader.read(np.array([5, 150, 201])) == 0).all()  # erased


def test_a_takedown_of_the_unknown_removes_nothing(tmp_path: Path) -> None:
    built = ReferenceSet.build(latents=latents(3), folder=tmp_path)
    with pytest.raises(ReferencesError, match="holds no nobody"):
        built.remove(["1", "nobody"])
    assert len(built) == 3
    built.remove(["1"])
    with pytest.raises(ReferencesError, match="holds no 1"):
        built.remove(["1"])
    with pytest.raises(ReferencesError, match="holds 0 already"):
        built.add(latents=latents(1), names=["0"])
    built.remove(["0", "2"])
    assert len(built) == 0
    with pytest.raises(ReferencesError, match="every reference has been removed"):
        built.search()


def test_a_removal_cut_off_before_erasing_is_ended_by_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = ReferenceSet.build(latents=latents(3), folder=tmp_path)
    from hub_models.spell import spell_reference_upkeep

    with monkeypatch.context() as patch:
        patch.setattr(spell_reference_upkeep, "_erase", lambda *_: None)
        built.remove(["1"])
    assert built._reader.read(np.array([1])).any()
    ReferenceSet.open(tmp_path).verify()
    assert not built._reader.read(np.array([1])).any()


@pytest.mark.usefixtures("small_shards")
def test_a_flipped_or_cut_shard_is_named(tmp_path: Path) -> None:
    built = ReferenceSet.build(latents=latents(200), folder=tmp_path)
    path = tmp_path / "shard-00002.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    with pytest.raises(ReferencesError, match=r"shard-00002.safetensors: its content has changed"):
        built.verify()
    with pytest.raises(ReferencesError, match="shard-00002"):  # a small set is read whole anyway
        ReferenceSet.open(tmp_path).search()
    path.write_bytes(whole[:-7])
    with pytest.raises(ReferencesError, match=r"shard-00002.safetensors: has [\d,]+ bytes instead of"):
        ReferenceSet.open(tmp_path)
    path.unlink()
    with pytest.raises(ReferencesError, match=r"shard-00002.safetensors: has 0 bytes"):
        ReferenceSet.open(tmp_path)


def test_manifests_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ReferencesError, match="holds no set"):
        ReferenceSet.open(tmp_path)
    ReferenceSet.build(latents=latents(1), folder=tmp_path)
    with pytest.raises(ReferencesError, match="holds a finished set"):
        ReferenceSet.build(latents=latents(1), folder=tmp_path)
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    for bad, message in [
        ("{", "cannot be read"),
        ("{}", "not a manifest"),
        (content | {"format": 9}, "format is 9"),
    ]:
        path.write_text(bad if isinstance(bad, str) else json.dumps(bad))
        with pytest.raises(ReferencesError, match=message):
            ReferenceSet.open(tmp_path)


KILLED = """
import sys, time, torch
from hub_models.spell import spell_reference_building as building
from hub_models.spell.spell_references import ReferenceSet
building.SHARD_BYTES = 64 * 2 * 256
real = building.GrowingShard.append
def append(self, rows):
    for row in rows:  # torn appends too
        real(self, row[None])
    print("row", flush=True)
    time.sleep(0.01)
building.GrowingShard.append = append
pixels = torch.randn(200, 1, 16, 16, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
ReferenceSet.build(pixels, folder=sys.argv[1], batch_size=7)
"""


@pytest.mark.usefixtures("small_shards")
def test_a_kill_while_building_loses_nothing(tmp_path: Path) -> None:
    for kill in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "killed")], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(2 + 4 * kill):
            assert process.stdout.readline() == "row\n"
        time.sleep(0.005 * kill)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        with pytest.raises(ReferencesError, match="unfinished"):
            ReferenceSet.open(tmp_path / "killed")
    pixels = torch.randn(200, 1, 16, 16, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    with pytest.raises(ReferencesError, match="unfinished build of other references"):
        ReferenceSet.build(pixels[:100], folder=tmp_path / "killed", batch_size=7)
    resumed = ReferenceSet.build(pixels, folder=tmp_path / "killed", batch_size=7)
    unbroken = ReferenceSet.build(pixels, folder=tmp_path / "unbroken")
    resumed.verify()
    for number in range(4):
        name = f"shard-{number:05d}.safetensors"
        assert (resumed.folder / name).read_bytes() == (unbroken.folder / name).read_bytes()
    assert sorted(os.listdir(resumed.folder)) == sorted(os.listdir(unbroken.folder))


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    from hub_models.spell.spell_reference_manifest import only_writer

    built = ReferenceSet.build(latents=latents(2), folder=tmp_path)
    with only_writer(tmp_path), pytest.raises(ReferencesError, match="another process is changing"):
        built.remove(["1"])
