"""Publishing to a Hub on the loopback address: what is sent, what is refused, what survives a bad network."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hub_models.errors import CheckpointError
from hub_models.hub_errors import ConflictError, HubPermissionError, UnreachableError
from hub_models.manifest import write_manifest
from hub_models.publishing import push as push_module
from hub_models.publishing.export_wheel import wheel_name
from hub_models.publishing.push import VerificationError, push
from hub_models.publishing.remote import NotOursError
from hub_models.publishing.repositories import export_repository

from ..hub.loopback.accounts import OTHER_TOKEN, READ_TOKEN, WRITE_TOKEN
from ..hub.loopback.clients import connect
from ..hub.loopback.server import LoopbackHub

NAME, REPOSITORY = "spell-ddpm", "zoo/spell-ddpm"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """An empty Hub that this process talks to, and no waiting between tries."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.chdir(tmp_path)
    with LoopbackHub(tmp_path / "hub") as server:
        connect(server, tmp_path / "home", monkeypatch)
        yield server
    assert server.crashes == []


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_repository(NAME, tmp_path_factory.mktemp("out"))


def held(hub: LoopbackHub, revision: str = "main") -> dict[str, bytes]:
    """The files of the repository on the Hub, its own left out."""
    files = hub.repository(REPOSITORY).at(revision).files
    return {name: hub.content(REPOSITORY, name, revision) for name in files if name != ".gitattributes"}


def on_disk(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def commits(hub: LoopbackHub) -> int:
    return len(hub.requests(f"{REPOSITORY}/commit/", "POST"))


def upload(hub: LoopbackHub, folder: Path) -> None:
    """Put a folder there as a first push would have."""
    api = HfApi(endpoint=hub.url, token=WRITE_TOKEN)
    api.create_repo(REPOSITORY, exist_ok=True)
    api.upload_folder(repo_id=REPOSITORY, folder_path=folder)
    hub.seen.clear()


def test_a_push_is_one_commit_of_the_export_and_a_second_does_nothing(hub: LoopbackHub, exported: Path):
    report = push(NAME, "zoo")
    assert held(hub) == on_disk(exported)
    assert (report.created, report.changed, report.deleted) == (True, True, ())
    assert set(report.uploaded) == on_disk(exported).keys()
    assert report.commit == hub.repository(REPOSITORY).head.sha
    assert report.url == f"{hub.url}/{REPOSITORY}"
    assert commits(hub) == 1
    again = push(NAME, "zoo")
    assert (again.changed, again.created, again.uploaded, again.commit) == (False, False, (), report.commit)
    assert commits(hub) == 1


def test_what_left_the_manifest_is_deleted_and_what_changed_is_told(
    hub: LoopbackHub, exported: Path, tmp_path: Path
):
    earlier = Path(shutil.copytree(exported, tmp_path / NAME))
    (earlier / "spell_of_old.py").write_text("")
    (earlier / "README.md").write_text("an earlier card")
    about = json.loads((earlier / "MANIFEST.json").read_text())
    write_manifest(earlier, {key: value for key, value in about.items() if key != "files"})
    upload(hub, earlier)
    report = push(NAME, "zoo")
    assert (report.created, report.deleted) == (False, ("spell_of_old.py",))
    assert report.uploaded == ("README.md", "MANIFEST.json")
    assert held(hub) == on_disk(exported)


def test_a_dry_run_changes_nothing(hub: LoopbackHub, exported: Path):
    report = push(NAME, "zoo", dry_run=True)
    assert (report.changed, report.created, report.commit, report.release()) == (True, True, None, None)
    assert set(report.uploaded) == on_disk(exported).keys()
    assert {seen.method for seen in hub.seen} <= {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"thesis.tex": b"years of work"}, r"has no MANIFEST\.json but thesis\.tex"),
        (
            {"MANIFEST.json": b'{"name": "spell-flux", "kind": "model", "files": {}}'},
            "holds the model 'spell-flux', not 'spell-ddpm'",
        ),
        (
            {"MANIFEST.json": b'{"name": "spell-ddpm", "kind": "model", "files": {}}', "notes.md": b"mine"},
            r"files that we did not push, notes\.md",
        ),
    ],
)
def test_what_is_not_ours_is_left_alone(hub: LoopbackHub, files: dict[str, bytes], message: str):
    hub.plant(REPOSITORY, files)
    before = hub.repository(REPOSITORY).head.sha
    for revision in (None, "other"):
        with pytest.raises(NotOursError, match=message):
            push(NAME, "zoo", revision=revision)
    assert hub.repository(REPOSITORY).head.sha == before
    assert list(hub.repository(REPOSITORY).branches) == ["main"]


def test_an_export_that_does_not_pass_is_not_published(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch):
    def altered(*arguments: object) -> Path:
        folder = export_repository(*arguments)  # type: ignore[arg-type]
        (folder / "weights.pt").write_bytes(b"\x80\x04")
        return folder

    monkeypatch.setattr(push_module, "export_repository", altered)
    with pytest.raises(VerificationError, match=r"(?s)does not pass:.*weights\.pt: not in MANIFEST\.json"):
        push(NAME, "zoo")
    assert hub.seen == []


@pytest.mark.parametrize("path", [f"{REPOSITORY}/commit/", "/api/repos/create", f"/api/models/{REPOSITORY}$"])
def test_a_hub_that_fails_three_times_is_asked_a_fourth(hub: LoopbackHub, exported: Path, path: str):
    hub.fault(path, times=3, status=500)
    assert push(NAME, "zoo").changed
    assert held(hub) == on_disk(exported)
    assert len(list(filter(lambda seen: seen.status == 200, hub.requests(f"{REPOSITORY}/commit/")))) == 1


def test_a_hub_that_keeps_failing_is_told_and_has_no_half(hub: LoopbackHub):
    hub.fault(f"{REPOSITORY}/commit/", times=99, status=503)
    with pytest.raises(UnreachableError, match=r"answers with an error \(503\); wait a little"):
        push(NAME, "zoo")
    assert held(hub) == {}


def test_a_commit_whose_answer_is_lost_is_not_made_twice(hub: LoopbackHub, exported: Path):
    hub.fault(f"{REPOSITORY}/commit/", lose_answer=True)
    report = push(NAME, "zoo")
    assert held(hub) == on_disk(exported)
    assert report.commit == hub.repository(REPOSITORY).head.sha
    assert commits(hub) == 1


def test_of_two_pushes_at_once_one_wins_and_the_other_says_so(hub: LoopbackHub, exported: Path):
    upload(hub, exported)
    hub.plant(REPOSITORY, {"MANIFEST.json": b'{"name": "spell-ddpm", "files": {}}'})
    for name in on_disk(exported):
        if name != "MANIFEST.json":
            hub.repository(REPOSITORY).head.files.pop(name)
    theirs = b'{"name": "spell-ddpm", "note": "the other push", "files": {}}'
    hub.fault(f"{REPOSITORY}/commit/", first=lambda: hub.plant(REPOSITORY, {"MANIFEST.json": theirs}))
    with pytest.raises(ConflictError, match="somebody else changed it meanwhile"):
        push(NAME, "zoo")
    assert held(hub) == {"MANIFEST.json": theirs}


def test_of_two_equal_pushes_at_once_both_succeed(hub: LoopbackHub, exported: Path):
    hub.fault(f"{REPOSITORY}/commit/", first=lambda: hub.plant(REPOSITORY, on_disk(exported)))
    report = push(NAME, "zoo")
    assert report.commit == hub.repository(REPOSITORY).head.sha
    assert held(hub) == on_disk(exported)


@pytest.mark.parametrize("token", [READ_TOKEN, OTHER_TOKEN, "hf_secretThatNobodyKnows"])
def test_a_token_without_the_right_is_refused_and_never_shown(
    hub: LoopbackHub, token: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(CheckpointError, match="hf auth login") as caught:
        push(NAME, "zoo", token=token)
    assert isinstance(caught.value, HubPermissionError) or token not in (READ_TOKEN, OTHER_TOKEN)
    shown = f"{caught.value}{caught.value.__cause__}{''.join(capsys.readouterr())}"
    assert token not in shown


def test_a_new_repository_can_be_private_and_on_a_branch(hub: LoopbackHub, exported: Path):
    report = push(NAME, "zoo", private=True, revision="v1")
    assert hub.repository(REPOSITORY).private
    assert held(hub) == {}
    assert held(hub, "v1") == on_disk(exported)
    assert report.commit == hub.repository(REPOSITORY).branches["v1"]


def test_a_space_is_pinned_to_the_wheel_on_the_same_hub(hub: LoopbackHub, tmp_path: Path):
    with pytest.raises(CheckpointError, match="first run `make dist` and `hub-models push hub-models-wheel"):
        push("spaces/root_cause", "zoo")
    (tmp_path / "dist").mkdir()
    with zipfile.ZipFile(tmp_path / "dist" / wheel_name(), "w") as archive:
        archive.writestr("hub_models/__init__.py", "")
    wheel = push("hub-models-wheel", "zoo")
    space = push("spaces/root_cause", "zoo")
    assert (space.kind, space.repository) == ("space", "zoo/root_cause")
    requirements = hub.content("zoo/root_cause", "requirements.txt", kind="space").decode()
    [pin] = [line for line in requirements.splitlines() if line.startswith("hub-models")]
    address, _, sha256 = pin.removeprefix("hub-models @ ").partition("#sha256=")
    assert address == f"{hub.url}/zoo/hub-models-wheel/resolve/{wheel.commit}/{wheel_name()}"
    files = hub.repository("zoo/hub-models-wheel").head.files
    assert files[wheel_name()].sha256 == sha256
