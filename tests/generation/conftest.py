"""A tiny generator, trained for a few steps on digits."""

from __future__ import annotations

from pathlib import Path

import pytest

RECIPE = """
name = "tiny"
task = "class-conditional-generation"
summary = "For tests."
licence = "cc-by-sa-3.0"
{top}

[data]
images = "digits"
count = 16
{data}

[network]
channels = [8, 8]
attention = []
{network}

[training]
steps = {steps}
batch_size = 4
warmup_steps = 2
{training}
"""


@pytest.fixture
def write_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a tiny recipe of some steps; further lines go at the end of the named tables."""
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "cache"))

    def write(name: str = "recipe", steps: int = 2, **lines: str) -> Path:
        lines = {"top": "", "data": "", "network": "", "training": ""} | lines
        path = tmp_path / name / "recipe.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(RECIPE.format(steps=steps, **lines))
        return path

    return write
