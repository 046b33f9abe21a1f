"""`hub-models shield`: sets of references from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from ..generated_images import write_images

MAIN = "import sys; sys.argv[0] = 'hub-models'; from hub_models.cli import main; main()"


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "shield", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_build_add_remove_and_verify(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4)
    vae.save_pretrained(tmp_path / "pipe" / "vae")
    images, more = write_images(tmp_path / "images", 3), write_images(tmp_path / "more", 1)
    (more / "0000.png").rename(more / "new.png")
    folder = tmp_path / "set"
    vae_option = ("--vae", tmp_path / "pipe")
    built = command(
        "build",
        folder,
        "--images",
        images,
        "--resolution",
        16,
        *vae_option,
        "--flip",
        "--crop",
        0.1,
        "--json",
    )
    assert built.returncode == 0, built.stderr
    told = json.loads(built.stdout)
    assert told["references"] == 12
    assert told["made_for"].startswith("AutoencoderKL")
    added = command("add", folder, "--images", more, *vae_option, "--json")
    assert json.loads(added.stdout)["references"] == 16
    removed = command("remove", folder, "0001.png", "new.png", "--json")
    assert json.loads(removed.stdout)["references"] == 8
    assert "8 references" in command("verify", folder).stdout
    shard = folder / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    damaged = command("verify", folder)
    assert damaged.returncode == 2
    assert damaged.stderr.startswith("error: ")
    assert "shard-00000.safetensors: its content has changed" in damaged.stderr


@pytest.mark.parametrize("arguments", [("verify",), ("remove", "x")])
def test_a_folder_without_a_set_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = command(arguments[0], tmp_path, *arguments[1:])
    assert result.returncode == 2
    assert "holds no set of references" in result.stderr
    assert "Traceback" not in result.stderr
