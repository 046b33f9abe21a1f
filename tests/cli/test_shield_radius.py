"""`hub-models shield radius` and `calibrate`: what a radius means, told on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hub_models.generation.train_flow import train_flow
from hub_models.spell import ReferenceSet

from ..generated_images import write_images

MAIN = "import sys; sys.argv[0] = 'hub-models'; from hub_models.cli import main; main()"
EDITS = {
    "JPEG 75",
    "JPEG 30",
    "shift by 1 pixel",
    "shift by 4 pixels",
    "crop 3 %",
    "crop 10 %",
    "flip",
}
RECIPE = """
name = "tiny"
task = "class-conditional-generation"
summary = "For tests."
licence = "cc-by-sa-3.0"
[data]
images = "digits"
count = 16
[network]
channels = [8, 8]
attention = []
[training]
steps = 1
batch_size = 4
warmup_steps = 1
"""


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "shield", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
    )


def figures(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_build_tells_what_a_radius_means_for_copies_of_the_images_given(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 4)
    built = figures(
        command("build", tmp_path / "set", "--images", images, "--resolution", 16, "--radius", 5, "--json")
    )
    told = built["radius"]
    assert told["radius"] == 5
    assert told["rho"] == pytest.approx(5 / built["median_distance"])
    assert told["active_references"].keys() == {"first_step", "last_step"}
    assert {copy["name"] for copy in told["copies"]} == EDITS
    assert all(0 <= copy["caught"] <= 1 and copy["median"] >= 0 for copy in told["copies"])
    again = figures(command("radius", tmp_path / "set", "--radius", 5, "--images", images, "--json"))
    assert again == told


def test_a_set_of_pixels_needs_no_images_and_the_usual_radius_no_number(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ReferenceSet.build(torch.rand(6, 3, 16, 16) * 2 - 1, folder=tmp_path, flip=True)
    done = command("radius", tmp_path)
    assert "rho 0.30" in done.stdout
    assert "references that act on one image" in done.stdout
    assert "flip: 100 % caught" in done.stdout  # the set holds the mirrored images, too


def test_a_set_of_latents_says_that_images_are_missing(tmp_path: Path) -> None:
    ReferenceSet.build(latents=torch.randn(5, 4, 4, 4), folder=tmp_path)
    assert "needs some of the protected images" in command("radius", tmp_path).stdout
    refused = command("radius", tmp_path, "--radius", -1)
    assert refused.returncode == 2
    assert "a radius is a positive number" in refused.stderr


def test_calibrate_prints_the_quantile_and_what_the_radius_means(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    train_flow(recipe, tmp_path / "tiny", show_progress=False)
    call = ("calibrate", "training", "--generator", tmp_path / "tiny", "--samples", 10, "--steps", 2)
    told = figures(command(*call, "--quantile", 0.5, "--json"))
    assert told["radius"] == told["meaning"]["radius"] > 0
    assert {copy["name"] for copy in told["meaning"]["copies"]} == EDITS
    picture = tmp_path / "radius.png"
    shown = command(*call, "--picture", picture)
    assert "holds 5.0% of 10 unshielded samples" in shown.stdout
    assert "rho" in shown.stdout
    assert "crop 10 %" in shown.stdout
    assert picture.stat().st_size > 1000
