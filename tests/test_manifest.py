from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from hub_models.errors import CheckpointError
from hub_models.manifest import check_manifest, read_manifest, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.txt").write_bytes(b"b")
    (tmp_path / "a.txt").write_bytes(b"a")
    write_manifest(tmp_path, {"name": "letters"})
    return tmp_path


def test_it_lists_every_file_but_itself(folder: Path):
    document = json.loads((folder / "MANIFEST.json").read_text())
    assert document == {
        "name": "letters",
        "files": {f"{c}.txt": hashlib.sha256(c.encode()).hexdigest() for c in "ab"},
    }


def test_writing_it_again_changes_nothing(folder: Path):
    before = (folder / "MANIFEST.json").read_bytes()
    write_manifest(folder, {"name": "letters"})
    assert (folder / "MANIFEST.json").read_bytes() == before


def test_untouched_files_pass(folder: Path):
    check_manifest(folder)


def test_an_altered_file_is_named(folder: Path):
    (folder / "b.txt").write_bytes(b"c")
    with pytest.raises(CheckpointError, match=r"b\.txt: altered or damaged .*expected 3e23e8160039"):
        check_manifest(folder)


def test_a_missing_file_is_named(folder: Path):
    (folder / "a.txt").unlink()
    with pytest.raises(CheckpointError, match=r"a\.txt: missing"):
        check_manifest(folder)


def test_a_missing_manifest_gives_the_next_step(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json: missing.*hub-models export"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b'{"files": {"../../etc/passwd": "0"}}'])
def test_a_damaged_manifest_is_refused(folder: Path, content: bytes):
    (folder / "MANIFEST.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json: damaged"):
        read_manifest(folder)
