"""The wheel that users and Spaces install holds all that a clone has, and works alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hub_models.published_code import PACKAGE
from hub_models.publishing.export_wheel import wheel_name
from hub_models.publishing.verify_files import READERS

ROOT = PACKAGE.parent
SOURCES = ("hub_models", "model_cards", "pipelines", "pyproject.toml", "README.md", "LICENSE")
#: Where each folder of the clone lies in the wheel, whole.
PLACES = {
    "hub_models": "hub_models",
    "pipelines/spell": "hub_models/spell",
    "model_cards/templates": "hub_models/model_cards/templates",
    "model_cards/outputs": "hub_models/model_cards/outputs",
    "model_cards/pictures": "hub_models/model_cards/pictures",
}
#: What `python -m build` does: an sdist, and the wheel from what is in the sdist alone.
BUILD = """
import os, sys, tarfile
from setuptools import build_meta
out = sys.argv[1]
with tarfile.open(os.path.join(out, build_meta.build_sdist(out))) as archive:
    archive.extractall("unpacked", filter="data")
os.chdir(os.path.join("unpacked", os.listdir("unpacked")[0]))
build_meta.build_wheel(out)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in a copy, as setuptools writes beside the sources."""
    root = tmp_path_factory.mktemp("distribution")
    (root / "out").mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, root / "source" / name)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(root / "out")],
        cwd=root / "source",
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return root / "out" / wheel_name()


@pytest.mark.slow
def test_it_holds_the_sources_the_checkpoints_the_pipelines_and_the_cards(wheel: Path):
    source = wheel.parents[1] / "source"
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    expected = {
        f"{place}/{path.relative_to(folder).as_posix()}": path
        for folder, place in ((source / each, place) for each, place in PLACES.items())
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert {name for name in expected if name not in held} == set()
    assert {name for name, path in expected.items() if held[name] != path.read_bytes()} == set()
    strangers = {name for name in held if not name.startswith(("hub_models/", "hub_models-"))}
    assert strangers == set(), "tests, Spaces and scripts stay in the clone"


@pytest.mark.slow
def test_it_is_a_file_that_verify_lets_through(wheel: Path):
    READERS[".whl"](wheel)


@pytest.mark.slow
def test_it_works_without_the_clone(wheel: Path, tmp_path: Path):
    """Unpacked before all else on the path, with none of the clone in sight: list, load, export, verify."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = """
import sys
sys.path.insert(0, sys.argv[1])
sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in str(finder)]
import hub_models
assert hub_models.__file__.startswith(sys.argv[1]), hub_models.__file__
from pathlib import Path
from hub_models.publishing.repositories import export_repository, repository_names
from hub_models.publishing.verify import verify
assert "spell-sdxl" in repository_names()
assert not [name for name in repository_names() if "/" in name]
for name in ("battery-failure-network", "digits-flow-memorised", "spell-ddpm"):
    found = verify(export_repository(name, Path("hub")))
    assert found.passed, found.failures
print(type(hub_models.load("battery-failure-network")).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["FailureNetworkModel"]
