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


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"files": []}',
        b'{"files": {"a.txt": 1}}',
        b"[" * 100_000,
        b" " * (2 << 20),
    ],
)
def test_a_damaged_manifest_is_refused(folder: Path, content: bytes):
    (folder / "MANIFEST.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json: damaged"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a/../../b",
        "a/./b",
        "a//b",
        "a/",
        "",
        "..",
        "C:\\windows",
        "..\\b",
        "a\0b",
        "a b",
        "a\nb",
        "~",
        "con\u202efig.json",  # shown as conjson.gif
        "con\u200bfig.json",  # looks like config.json
        "c\u043enfig.json",  # a Cyrillic o
        "re\u0301sume\u0301",  # one name here, another on a disk that composes letters
        "\ud800",
    ],
)
def test_a_name_that_is_not_plain_is_refused(folder: Path, name: str):
    listing = {"files": {name: hashlib.sha256(b"").hexdigest()}}
    (folder / "MANIFEST.json").write_text(json.dumps(listing))
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json: damaged \(.* is no plain file name"):
        read_manifest(folder)


def test_names_that_some_disks_cannot_tell_apart_are_refused(folder: Path):
    (folder / "B.txt").write_bytes(b"B")
    with pytest.raises(CheckpointError, match="two file names differ in capitals only; rename it"):
        write_manifest(folder)


def test_a_file_of_an_odd_name_is_not_listed_but_refused(folder: Path):
    (folder / "a b.txt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"'a b\.txt' is no plain file name"):
        write_manifest(folder)


@pytest.mark.parametrize("target", ["/etc/hostname", "..", "a.txt", "nowhere"])
def test_a_link_is_neither_listed_nor_accepted(folder: Path, target: str):
    (folder / "sub").mkdir()
    (folder / "sub/link").symlink_to(target)
    for use in (check_manifest, write_manifest):
        with pytest.raises(CheckpointError, match=r"sub/link: a link; put the file itself"):
            use(folder)


def test_links_of_the_hub_cache_are_accepted_unless_they_leave_it(folder: Path, tmp_path: Path):
    snapshot = tmp_path / "hub/models--zoo--letters/snapshots/0123"
    blobs = tmp_path / "hub/models--zoo--letters/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name in ("a.txt", "b.txt", "MANIFEST.json"):
        (folder / name).rename(blobs / f"blob-{name}")
        (snapshot / name).symlink_to(f"../../blobs/blob-{name}")
    check_manifest(snapshot)
    (tmp_path / "outside").write_bytes(b"b")
    (snapshot / "b.txt").unlink()
    (snapshot / "b.txt").symlink_to(tmp_path / "outside")
    with pytest.raises(CheckpointError, match=r"b\.txt: a link"):
        check_manifest(snapshot)
