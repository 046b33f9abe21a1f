"""What any released version exported, this one loads, and the output is what was stored then."""

from __future__ import annotations

import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import hub_models
from hub_models.families import FAMILIES, GENERATION
from hub_models.publishing.compatibility import FOLDER, MAKERS, write_exports
from hub_models.publishing.verify_loading import golden_output

EXPORTS = sorted(FOLDER.glob("v*/*.zip"))
CURRENT = f"v{metadata.version('hub-models')}"
#: Of one version: they stay in git for ever.
MAX_BYTES = 200_000


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_export_of_a_released_version_loads(path: Path, tmp_path: Path):
    folder = tmp_path / path.stem
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    assert type(hub_models.load(folder)).__module__.startswith("hub_models.")
    assert golden_output(folder).startswith("every tensor fits; ")


def test_there_is_one_of_every_family_for_every_version():
    versions = {path.parent.name for path in EXPORTS}
    assert CURRENT in versions, "run: python -m hub_models.publishing.compatibility"
    assert {path.stem for path in EXPORTS if path.parent.name == CURRENT} == MAKERS.keys()
    assert MAKERS.keys() == {GENERATION, *(family.task for family in FAMILIES)}
    for version in versions:
        assert sum(path.stat().st_size for path in EXPORTS if path.parent.name == version) < MAX_BYTES


def test_they_can_be_written_anew(tmp_path: Path):
    written = write_exports(tmp_path / "v")
    assert [path.stem for path in written] == list(MAKERS)
    names = {path.stem: _names(path) for path in written}
    assert names == {path.stem: _names(path) for path in EXPORTS if path.parent.name == CURRENT}


def _names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()
