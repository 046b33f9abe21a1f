"""Repositories from a Hub on the loopback address: fetched at one commit, checked, and every failure told apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, constants
from safetensors.torch import load_file

import hub_models
from hub_models import published
from hub_models.atomic import file_sha256
from hub_models.errors import CheckpointError
from hub_models.generation.exported import load_exported
from hub_models.hub_errors import (
    AlteredError,
    GatedError,
    HubError,
    NotCachedError,
    NotOnHubError,
    UnreachableError,
)
from hub_models.hub_loading import fetch, split_reference
from hub_models.manifest import MANIFEST
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel
from hub_models.published import Published, record_published
from hub_models.publishing.repositories import export_repository

from .hub.loopback.accounts import WRITE_TOKEN
from .hub.loopback.clients import connect
from .hub.loopback.server import LoopbackHub

REPOSITORY = "zoo/tiny"


@pytest.fixture
def hub(tmp_path: Path, tiny_repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub that holds the tiny model, seen from an empty current directory with an empty cache; no waiting."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # huggingface_hub waits between its tries
    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "published.json")
    monkeypatch.chdir(tmp_path)
    with LoopbackHub(tmp_path / "hub") as server:
        connect(server, tmp_path / "home", monkeypatch)
        api = HfApi(endpoint=server.url, token=WRITE_TOKEN)
        api.create_repo(REPOSITORY)
        api.upload_folder(repo_id=REPOSITORY, folder_path=tiny_repository)
        server.seen.clear()
        yield server
    assert server.crashes == []


def head(hub: LoopbackHub) -> str:
    return hub.repository(REPOSITORY).head.sha


def plant_signed(hub: LoopbackHub, files: dict[str, bytes]) -> str:
    """Change files and the manifest with them, as an attacker would; returns the commit."""
    manifest = json.loads(hub.content(REPOSITORY, MANIFEST))
    commit = hub.plant(REPOSITORY, files)
    for name in files:
        manifest["files"][name] = commit.files[name].sha256
    return hub.plant(REPOSITORY, {MANIFEST: json.dumps(manifest).encode()}).sha


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("org/name", ("org", "name")),
        ("org/name@v1.0", ("org/name", "v1.0")),
        ("org/name@refs/pr/1", ("org/name", "refs/pr/1")),
        ("name", None),
        ("a/b/c", None),
        ("../x", ("../x", None)),
        ("org/name@", None),
        ("org/name@a@b", None),
    ],
)
def test_a_reference_is_repository_and_revision(text: str, parts: tuple[str, ...] | None):
    if parts == ("org", "name"):
        parts = ("org/name", None)
    assert split_reference(text) == parts


def test_load_by_id_gives_our_class_and_the_golden_output(hub: LoopbackHub, tiny_repository: Path):
    model = hub_models.load(REPOSITORY)
    assert type(model) is ImageUncertaintyModel
    golden = load_file(tiny_repository / "golden.safetensors")
    with torch.no_grad():
        output = model(golden["pixel_values"])
    torch.testing.assert_close(output.uncertainty, golden["uncertainty"], atol=1e-5, rtol=0)
    assert hub_models.load_image_processor(REPOSITORY).size


def test_a_generator_by_id_runs_our_class_whatever_its_code_says(hub: LoopbackHub, tmp_path: Path):
    folder = export_repository("digits-flow-memorised", tmp_path / "out")
    api = HfApi(endpoint=hub.url, token=WRITE_TOKEN)
    api.create_repo("zoo/digits")
    api.upload_folder(repo_id="zoo/digits", folder_path=folder)
    loaded = hub_models.load("zoo/digits")
    golden = load_file(folder / "golden.safetensors")
    with torch.no_grad():
        velocity = loaded.unet(
            golden["sample"], golden["timestep"], class_labels=golden["class_labels"]
        ).sample
    torch.testing.assert_close(velocity, golden["velocity"], atol=1e-4, rtol=1e-4)
    assert type(loaded).__module__ == "hub_models.spell.spell_class_conditional"
    (folder / "scheduler/scheduler_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="altered"):
        load_exported(folder)


def test_a_commit_is_fetched_once_and_then_never_asked_for(hub: LoopbackHub):
    reference = f"{REPOSITORY}@{head(hub)}"
    first = fetch(reference)
    assert (first.commit, first.repository) == (head(hub), REPOSITORY)
    hub.seen.clear()
    assert fetch(reference) == first
    assert hub.seen == []


def test_a_branch_that_moves_between_the_look_and_the_load_changes_nothing(hub: LoopbackHub):
    before = head(hub)
    hub.fault(
        r"/tree/|/revision/|/resolve/.*config\.json",
        first=lambda: hub.plant(REPOSITORY, {"config.json": b'{"model_type": "bert"}'}),
    )
    snapshot = fetch(f"{REPOSITORY}@main")
    assert snapshot.commit == before != head(hub)
    assert json.loads((snapshot.folder / "config.json").read_text())["model_type"] == "image_uncertainty"


def test_offline_a_branch_means_what_was_fetched(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch):
    snapshot = fetch(REPOSITORY)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.seen.clear()
    assert fetch(REPOSITORY) == snapshot
    assert hub.seen == []


def test_what_the_manifest_does_not_list_is_not_even_fetched(hub: LoopbackHub):
    hub.plant(REPOSITORY, {"weights.pkl": b"\x80\x04", "sub/evil.py": b""})
    names = {path.name for path in fetch(REPOSITORY).folder.rglob("*")}
    assert not names & {"weights.pkl", "sub", "evil.py"}
    assert not hub.requests("weights.pkl")


def test_offline_without_a_cache(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        NotCachedError, match="zoo/tiny: not in the cache, and HF_HUB_OFFLINE is set; unset it"
    ):
        hub_models.load(REPOSITORY)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("zoo/nothing", "zoo/nothing: not on .*, or private; check the name, or log in with `hf auth login`"),
        (f"{REPOSITORY}@nowhere", "has no such revision; name a branch"),
        ("zoo/..", "no name of a repository"),
    ],
)
def test_what_is_not_there(hub: LoopbackHub, reference: str, message: str):
    with pytest.raises(NotOnHubError, match=message):
        hub_models.load(reference)


def test_a_private_repository_looks_absent_to_strangers(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.repository(REPOSITORY).private = True
    connect(hub, tmp_path / "stranger", monkeypatch, token=None)
    with pytest.raises(NotOnHubError, match="or private"):
        fetch(REPOSITORY)


def test_a_gated_repository_says_what_to_do(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.repository(REPOSITORY).gated = "manual"
    connect(hub, tmp_path / "stranger", monkeypatch, token=None)
    with pytest.raises(GatedError, match="gated; accept its terms on"):
        fetch(REPOSITORY)


def test_a_repository_without_a_manifest_is_none_of_ours(hub: LoopbackHub):
    hub.plant("zoo/other", {"config.json": b"{}"})
    with pytest.raises(NotOnHubError, match=r"has no MANIFEST\.json"):
        fetch("zoo/other")


def test_a_hub_that_does_not_answer(hub: LoopbackHub):
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9 cannot be reached; check the network"):
        fetch("zoo/never-fetched", endpoint="http://127.0.0.1:9")


def test_a_hub_that_fails_three_times_is_asked_a_fourth(hub: LoopbackHub):
    hub.fault(r"resolve/.*/MANIFEST\.json", times=3, status=500)
    assert fetch(REPOSITORY).commit == head(hub)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "modeling_image_uncertainty.py", "README.md"]
)
def test_an_altered_file_is_found_on_arrival(hub: LoopbackHub, name: str):
    hub.plant(REPOSITORY, {name: hub.content(REPOSITORY, name) + b" "})
    with pytest.raises(AlteredError, match=rf"{name}: altered or damaged.*`hf cache rm model/zoo/tiny`"):
        hub_models.load(REPOSITORY)


def test_integrity_is_not_origin(hub: LoopbackHub):
    """A consistent forgery of another commit is fetched; of the released commit the package knows better."""
    released = Published(REPOSITORY, "model", head(hub), file_sha256(fetch(REPOSITORY).folder / MANIFEST))
    record_published("tiny", released)
    forged = plant_signed(hub, {"README.md": b"# forged"})
    assert fetch(f"{REPOSITORY}@{forged}").commit == forged
    record_published("tiny", Published(REPOSITORY, "model", forged, released.manifest_sha256))
    with pytest.raises(AlteredError, match="is not the one that this project published"):
        fetch(f"{REPOSITORY}@{forged}")


def test_a_name_that_is_published_but_not_installed_is_fetched_at_its_commit(
    hub: LoopbackHub, tiny_repository: Path
):
    sha256 = file_sha256(tiny_repository / MANIFEST)
    record_published("tiny-on-the-hub", Published(REPOSITORY, "model", head(hub), sha256))
    hub.plant(REPOSITORY, {"config.json": b"{}"})
    assert type(hub_models.load("tiny-on-the-hub")) is ImageUncertaintyModel


def test_a_foreign_model_is_refused_before_anything_is_built(hub: LoopbackHub):
    plant_signed(hub, {"config.json": b'{"model_type": "bert", "auto_map": {"AutoModel": "evil.Model"}}'})
    with pytest.raises(CheckpointError, match="model type 'bert' is not among ours"):
        hub_models.load(REPOSITORY)


def test_weights_swapped_for_a_pickle_are_refused(hub: LoopbackHub):
    plant_signed(hub, {"model.safetensors": b"\x80\x04\x95" + b"." * 64})
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        hub_models.load(REPOSITORY)


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "a/../../evil", "a\\..\\evil"])
def test_a_manifest_that_leaves_its_folder_is_refused(hub: LoopbackHub, name: str):
    manifest = json.loads(hub.content(REPOSITORY, MANIFEST))
    manifest["files"][name] = "0" * 64
    hub.plant(REPOSITORY, {MANIFEST: json.dumps(manifest).encode()})
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json: damaged"):
        fetch(REPOSITORY)


def test_every_error_of_a_hub_is_an_error_of_a_checkpoint():
    for error in (AlteredError, GatedError, NotCachedError, NotOnHubError, UnreachableError):
        assert issubclass(error, HubError)
    assert issubclass(HubError, CheckpointError)
