"""Not our own echo: repositories read back from a server that others wrote, over git repositories that git made."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub import HfApi, RepoFile, constants

from hub_models.publishing.repositories import export_repository, split_name

from .asking import ask
from .git_repositories import to_git
from .loopback.accounts import ORGANISATION, WRITE_TOKEN
from .loopback.clients import connect, environment
from .loopback.server import LoopbackHub
from .olah_server import olah_server

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("olah") is None, reason="needs the package olah: pip install olah"
)
NAMES = ("battery-failure-network", "datasets/battery_fmea", "spaces/root_cause")


@dataclass(frozen=True)
class Twins:
    """The same repositories on both servers.

    Attributes:
        commits: repository -> hash of its only commit in git.
    """

    ours: HfApi
    theirs: HfApi
    commits: dict[tuple[str, str], str]
    folders: dict[tuple[str, str], Path]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    root = tmp_path_factory.mktemp("twins")
    commits, folders = {}, {}
    with LoopbackHub(root / "hub") as hub, pytest.MonkeyPatch.context() as patch:
        connect(hub, root / "home", patch)
        ours = HfApi(endpoint=hub.url, token=WRITE_TOKEN)
        for name in NAMES:
            kind, plain = split_name(name)
            key = f"{ORGANISATION}/{plain}", kind
            folders[key] = export_repository(name, root / "out")
            sdk = "gradio" if kind == "space" else None
            ours.create_repo(key[0], repo_type=kind, space_sdk=sdk)
            ours.upload_folder(repo_id=key[0], repo_type=kind, folder_path=folders[key])
            commits[key] = to_git(hub, key[0], root / "git" / f"{kind}s" / key[0], kind)
        with olah_server(root / "git", root) as address:
            yield Twins(ours, HfApi(endpoint=address, token=False), commits, folders)


def test_both_servers_list_the_same_files(twins: Twins):
    """Git's own object names, sizes and pointers confirm those of the loopback Hub."""

    def listed(api: HfApi, name: str, kind: str, revision: str) -> set[tuple[object, ...]]:
        tree = api.list_repo_tree(name, recursive=True, revision=revision, repo_type=kind)
        files = [item for item in tree if isinstance(item, RepoFile)]
        return {
            (file.path, file.size, file.blob_id, file.lfs and file.lfs.sha256, file.lfs and file.lfs.size)
            for file in files
        }

    large = 0
    for (name, kind), commit in twins.commits.items():
        theirs = listed(twins.theirs, name, kind, commit)
        assert listed(twins.ours, name, kind, "main") == theirs
        large += sum(entry[3] is not None for entry in theirs)
    assert large > 0


def test_what_it_serves_is_what_was_exported(twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for (name, kind), commit in twins.commits.items():
        copy = Path(twins.theirs.snapshot_download(name, revision=commit, repo_type=kind))
        for path in twins.folders[name, kind].rglob("*"):
            if path.is_file():
                relative = path.relative_to(twins.folders[name, kind])
                assert (copy / relative).read_bytes() == path.read_bytes()


def test_strangers_load_from_it_by_id_and_commit(twins: Twins, tmp_path: Path):
    process = {"home": tmp_path, "variables": environment(twins.theirs.endpoint, tmp_path, token=None)}
    pinned = {kind: f"{name}@{commit}" for (name, kind), commit in twins.commits.items()}
    model = ask("read_models.py", "no photo needed", pinned["model"], **process)
    assert model[pinned["model"]]["class"] == "FailureNetworkModel"
    rows = ask("read_datasets.py", pinned["dataset"], **process)
    assert rows["failures"][:2] == ["failures", 208]
