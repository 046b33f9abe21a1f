"""The loopback Hub against the client it stands in for: huggingface_hub in this process, and its command."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    constants,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)

from .example_repository import CARD, LARGE, status, three_files
from .loopback.accounts import WRITE_TOKEN
from .loopback.clients import HF, environment, run
from .loopback.gitattributes import is_large
from .loopback.server import LoopbackHub


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_a_repository_lives_and_dies(api: HfApi, connected: LoopbackHub, kind: str):
    sdk = {"space_sdk": "gradio"} if kind == "space" else {}
    url = api.create_repo("zoo/one", repo_type=kind, **sdk)
    assert (url.repo_id, url.repo_type, url.endpoint) == ("zoo/one", kind, connected.url)
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_repo("zoo/one", repo_type=kind, **sdk)
    assert status(refused) == 409
    api.create_repo("zoo/one", repo_type=kind, exist_ok=True, **sdk)
    first = [".gitattributes", "README.md"] if kind == "space" else [".gitattributes"]
    assert sorted(api.list_repo_files("zoo/one", repo_type=kind)) == first
    api.create_commit("zoo/one", three_files(), repo_type=kind, commit_message="Three files")
    info = api.repo_info("zoo/one", repo_type=kind, files_metadata=True)
    large = {sibling.rfilename: sibling.lfs for sibling in info.siblings}
    assert large["model.safetensors"].size == len(LARGE)
    assert large["sub/config.json"] is None
    assert (info.card_data.license, info.tags) == ("mit", ["a", "b"])
    copy = Path(snapshot_download("zoo/one", repo_type=kind))
    assert (copy / "model.safetensors").read_bytes() == LARGE
    assert (copy / "sub/config.json").read_bytes() == b"{}"
    api.delete_repo("zoo/one", repo_type=kind)
    assert not api.repo_exists("zoo/one", repo_type=kind)


def test_kinds_and_owners_keep_apart(api: HfApi):
    api.create_repo("zoo/one")
    api.create_repo("zoo/one", repo_type="dataset")
    api.create_repo("mine")
    assert [entry.id for entry in api.list_models(author="zoo")] == ["zoo/one"]
    assert [entry.id for entry in api.list_models(search="mine")] == ["ada/mine"]
    api.move_repo("zoo/one", "zoo/two")
    assert api.repo_exists("zoo/two")
    assert not api.repo_exists("zoo/one")
    assert api.repo_exists("zoo/one", repo_type="dataset")


def test_commits_stay_and_branches_and_tags_point_to_them(api: HfApi, model: str):
    old = api.model_info(model).sha
    api.create_tag(model, tag="v1", revision=old)
    api.create_branch(model, branch="odd/name", revision=old)
    api.upload_file(
        path_or_fileobj=b"[]", path_in_repo="sub/config.json", repo_id=model, commit_message="Second"
    )
    new = api.model_info(model).sha
    texts = {
        revision: Path(hf_hub_download(model, "sub/config.json", revision=revision)).read_text()
        for revision in (old, "v1", "odd/name", "main", new)
    }
    assert texts == {old: "{}", "v1": "{}", "odd/name": "{}", "main": "[]", new: "[]"}
    titles = [commit.title for commit in api.list_repo_commits(model)]
    assert titles == ["Second", "Three files", "initial commit"]
    refs = api.list_repo_refs(model)
    assert {branch.name: branch.target_commit for branch in refs.branches} == {"main": new, "odd/name": old}
    assert {tag.name: tag.target_commit for tag in refs.tags} == {"v1": old}
    for again in (lambda: api.create_tag(model, tag="v1"), lambda: api.create_branch(model, branch="main")):
        with pytest.raises(HfHubHTTPError) as refused:
            again()
        assert status(refused) == 409
    api.delete_tag(model, tag="v1")
    api.delete_branch(model, branch="odd/name")
    for gone in ("v1", "odd/name", "0" * 40):
        with pytest.raises(RevisionNotFoundError):
            hf_hub_download(model, "README.md", revision=gone)


def test_files_are_deleted_alone_and_by_folder(api: HfApi, model: str):
    operations = [CommitOperationDelete("sub/"), CommitOperationDelete("README.md")]
    api.create_commit(model, operations, commit_message="Fewer")
    assert api.list_repo_files(model) == [".gitattributes", "model.safetensors"]
    with pytest.raises(RemoteEntryNotFoundError):
        api.delete_file("README.md", model)


def test_what_was_uploaded_is_not_uploaded_again(api: HfApi, connected: LoopbackHub, model: str):
    sha = api.model_info(model).sha
    api.create_commit(model, three_files(), commit_message="Same")
    assert api.model_info(model).sha == sha
    assert len(connected.requests("/_stored/", "PUT")) == 1


def test_a_commit_on_an_outdated_parent_is_refused_whole(api: HfApi, connected: LoopbackHub, model: str):
    old = connected.repository(model).head
    api.create_commit(model, [CommitOperationAdd("a", b"a")], commit_message="A", parent_commit=old.sha)
    new = connected.repository(model).head
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_commit(model, [CommitOperationAdd("b", b"b")], commit_message="B", parent_commit=old.sha)
    assert status(refused) == 412
    assert connected.repository(model).head == new
    assert "b" not in new.files


def test_listings_come_in_pages_and_by_folder(api: HfApi, connected: LoopbackHub, model: str):
    connected.page_size = 2
    paths = [item.path for item in api.list_repo_tree(model, recursive=True)]
    assert paths == [".gitattributes", "README.md", "model.safetensors", "sub", "sub/config.json"]
    assert [item.path for item in api.list_repo_tree(model)] == paths[:4]
    assert [item.path for item in api.list_repo_tree(model, "sub", expand=True)] == ["sub/config.json"]
    assert len(connected.requests("/tree/")) == 6
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(model, "nowhere"))
    large, folder = api.get_paths_info(model, ["model.safetensors", "sub", "nowhere"], expand=True)
    assert (large.size, large.lfs.size, large.last_commit.title) == (len(LARGE), len(LARGE), "Three files")
    assert folder.path == "sub"


def test_the_file_system_view(connected: LoopbackHub, model: str):
    files = HfFileSystem(endpoint=connected.url, token=WRITE_TOKEN, skip_instance_cache=True)
    assert files.ls(f"{model}/sub", detail=False) == [f"{model}/sub/config.json"]
    with files.open(f"{model}/model.safetensors", "rb", block_size=1000) as stream:
        stream.seek(700)
        assert stream.read(12) == LARGE[700:712]


@pytest.mark.parametrize(
    ("wanted", "code", "part"),
    [
        (None, 200, LARGE),
        ("bytes=10-19", 206, LARGE[10:20]),
        ("bytes=307190-", 206, LARGE[-10:]),
        ("bytes=-7", 206, LARGE[-7:]),
        ("bytes=307190-999999", 206, LARGE[-10:]),
        ("bytes=307200-", 416, b""),
    ],
)
def test_ranges(connected: LoopbackHub, model: str, wanted: str | None, code: int, part: bytes):
    url = f"{connected.url}/{model}/resolve/main/model.safetensors"
    with httpx2.Client(follow_redirects=True) as client:
        answer = client.get(url, headers={"Range": wanted} if wanted else {})
    assert answer.status_code == code
    if code == 416:
        assert answer.headers["Content-Range"] == "bytes */307200"
    else:
        assert answer.content == part
    if code == 206:
        first = 307200 - len(part) if part != LARGE[10:20] else 10
        assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/307200"


def test_headers_of_a_small_and_of_a_large_file(connected: LoopbackHub, model: str):
    head = connected.repository(model).head
    base = f"{connected.url}/{model}/resolve/main"
    small, large = httpx2.head(f"{base}/README.md"), httpx2.head(f"{base}/model.safetensors")
    assert small.headers["X-Repo-Commit"] == large.headers["X-Repo-Commit"] == head.sha
    assert small.headers["ETag"] == f'"{head.files["README.md"].oid}"'
    assert int(small.headers["Content-Length"]) == len(CARD)
    assert large.status_code == 302
    assert large.headers["X-Linked-Etag"] == f'"{head.files["model.safetensors"].sha256}"'
    assert int(large.headers["X-Linked-Size"]) == len(LARGE)
    assert large.headers["Location"].startswith(connected.store_url)


def test_tokens_stay_at_the_hub(api: HfApi, connected: LoopbackHub, model: str):
    hf_hub_download(model, "model.safetensors")
    users = {seen.path.split("/")[1]: seen.user for seen in connected.seen}
    assert users["_stored"] is None
    assert users["zoo"] == "ada"


def test_a_card_whose_yaml_is_broken_is_refused(api: HfApi, connected: LoopbackHub, model: str):
    before = connected.repository(model).head
    with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
        api.upload_file(path_or_fileobj=b"---\na: [\n---\n", path_in_repo="README.md", repo_id=model)
    assert connected.repository(model).head == before


def test_two_commits_at_once_are_both_kept(api: HfApi, connected: LoopbackHub, model: str):
    def write(name: str) -> None:
        api.create_commit(model, [CommitOperationAdd(name, name.encode())], commit_message=name)

    writers = [threading.Thread(target=write, args=(f"file{i}",)) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {f"file{i}" for i in range(4)} <= connected.repository(model).head.files.keys()


def test_faults_hit_as_often_as_told(api: HfApi, connected: LoopbackHub, model: str):
    fault = connected.fault("/api/models/zoo/model$", status=500, times=2)
    for _ in range(2):
        with pytest.raises(HfHubHTTPError) as refused:
            api.model_info(model)
        assert status(refused) == 500
    assert api.model_info(model).id == model
    assert fault.hits == 2


def test_a_cut_download_is_resumed(connected: LoopbackHub, model: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # it resumes after the last whole one
    connected.fault("/_stored/", method="GET", cut=100_000)
    assert Path(hf_hub_download(model, "model.safetensors")).read_bytes() == LARGE
    assert [seen.status for seen in connected.requests("/_stored/", "GET")] == [200, 206]


def test_a_lie_about_the_size_is_noticed_by_the_client(connected: LoopbackHub, model: str):
    connected.fault("model.safetensors", method="HEAD", size=7)
    with pytest.raises(OSError, match="Consistency check failed"):
        hf_hub_download(model, "model.safetensors")
    connected.fault("/_stored/", method="GET", content=b"short")
    with pytest.raises(OSError, match="Consistency check failed"):
        hf_hub_download(model, "model.safetensors")


def test_an_answer_can_be_lost_after_the_deed(api: HfApi, connected: LoopbackHub, model: str):
    connected.fault("/commit/main", lose_answer=True)
    with pytest.raises(httpx2.RemoteProtocolError):
        api.create_commit(model, [CommitOperationAdd("a", b"a")], commit_message="Lost answer")
    assert connected.repository(model).head.title == "Lost answer"


def test_planted_files_are_unchecked(connected: LoopbackHub, model: str):
    connected.plant(model, {"../up": b"x"})
    assert connected.content(model, "../up") == b"x"
    assert connected.content(model, "README.md") == CARD


@pytest.mark.parametrize(
    ("path", "size", "sample", "large"),
    [
        ("model.safetensors", 10, b"", True),
        ("deep/er/model.safetensors", 10, b"", True),
        ("config.json", 10, b"{}", False),
        ("config.json", 11 * 1024 * 1024, b"{}", True),
        ("picture.xyz", 10, b"\x89\0", True),
        ("empty.bin", 0, b"", False),
    ],
)
def test_what_counts_as_large(path: str, size: int, sample: bytes, large: bool):
    assert is_large(path, size, sample, "*.safetensors filter=lfs\n*.bin filter=lfs\n# *.json\n") is large


def test_the_command(hub: LoopbackHub, tmp_path: Path):
    home, folder = tmp_path / "home", tmp_path / "folder"
    home.mkdir()
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_bytes(CARD)
    (folder / "sub/model.safetensors").write_bytes(LARGE)
    variables = environment(hub, home)

    def hf(*arguments: str) -> str:
        done = run([str(HF), *arguments], home, variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "ada" in hf("auth", "whoami")
    hf("upload", "zoo/uploaded", str(folder), "--repo-type", "dataset")
    hf("repos", "tag", "create", "zoo/uploaded", "v1", "--type", "dataset")
    hf(
        "download",
        "zoo/uploaded",
        "--repo-type",
        "dataset",
        "--revision",
        "v1",
        "--local-dir",
        str(home / "copy"),
    )
    assert (home / "copy/sub/model.safetensors").read_bytes() == LARGE
    assert hub.repository("zoo/uploaded", "dataset").tags.keys() == {"v1"}
    hf("repos", "delete", "zoo/uploaded", "--type", "dataset", "--yes")
    assert hub.repositories == {}
