"""Attacks by a Hub, or by somebody who may write to a repository there: nothing runs, and no half stays behind."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, constants
from safetensors.torch import load_file

import hub_models
from hub_models.errors import CheckpointError
from hub_models.hub_errors import HubError
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel
from hub_models.publishing.verify import verify

from .hostile import Canary, full_disk, plant_signed
from .loopback.accounts import READ_TOKEN, WRITE_TOKEN
from .loopback.clients import environment, run
from .loopback.server import LoopbackHub

REPOSITORY = "zoo/tiny"
LOAD_WITHOUT_FLAG = """
import sys
sys.modules["hub_models"] = None
from transformers import AutoConfig, AutoModel, pipeline
from diffusers import DiffusionPipeline
refused = 0
for load in (AutoConfig.from_pretrained, AutoModel.from_pretrained, lambda name: pipeline(model=name)):
    try:
        load("zoo/tiny")
    except ValueError as error:
        refused += "trust_remote_code=True" in str(error)
try:
    DiffusionPipeline.from_pretrained("zoo/generator")
except ValueError as error:
    refused += "trust_remote_code=True" in str(error)
print(f"refused {refused} of 4")
"""


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path / "sang")


@pytest.fixture
def hub_with_tiny(
    connected: LoopbackHub, tiny_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LoopbackHub:
    """The tiny model is on the Hub; nobody sleeps between tries; no file of the current folder helps."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.chdir(tmp_path)
    api = HfApi(endpoint=connected.url, token=WRITE_TOKEN)
    api.create_repo(REPOSITORY)
    api.upload_folder(repo_id=REPOSITORY, folder_path=tiny_repository)
    connected.seen.clear()
    return connected


def assert_whole(repository: Path, reference: str = REPOSITORY) -> None:
    """It loads, and answers as it should."""
    model = hub_models.load(reference)
    assert type(model) is ImageUncertaintyModel
    golden = load_file(repository / "golden.safetensors")
    with torch.no_grad():
        output = model(golden["pixel_values"])
    torch.testing.assert_close(output.uncertainty, golden["uncertainty"], atol=1e-5, rtol=0)


def hostile_files(hub: LoopbackHub, canary: Canary) -> dict[str, bytes]:
    head = hub.repository(REPOSITORY).head
    return {name: canary.code.encode() for name in head.files if name.endswith(".py")}


def test_code_on_the_hub_runs_neither_with_us_nor_without_the_flag(
    hub_with_tiny: LoopbackHub, tiny_repository: Path, canary: Canary, tmp_path: Path
):
    plant_signed(hub_with_tiny, REPOSITORY, hostile_files(hub_with_tiny, canary))
    index = {"_class_name": ["pipeline", "Pipeline"], "_diffusers_version": "0.42.1"}
    files = {"model_index.json": json.dumps(index).encode(), "pipeline.py": canary.code.encode()}
    hub_with_tiny.plant("zoo/generator", files)
    assert_whole(tiny_repository)
    done = run(
        [sys.executable, "-I", "-c", LOAD_WITHOUT_FLAG],
        tmp_path,
        environment(hub_with_tiny, tmp_path, READ_TOKEN),
    )
    assert "refused 4 of 4" in done.stdout, done.stderr[-2000:]
    assert not canary.sang


def test_code_of_another_repository_is_not_even_fetched(
    hub_with_tiny: LoopbackHub, tiny_repository: Path, canary: Canary
):
    hub_with_tiny.plant("evil/code", {"modeling.py": canary.code.encode(), "config.json": b"{}"})
    config = json.loads(hub_with_tiny.content(REPOSITORY, "config.json"))
    config["auto_map"] = {"AutoConfig": "evil/code--modeling.C", "AutoModel": "evil/code--modeling.M"}
    plant_signed(hub_with_tiny, REPOSITORY, {"config.json": json.dumps(config).encode()})
    assert_whole(tiny_repository)
    assert "pins" in {failure.name for failure in verify(f"{REPOSITORY}@main").failures}
    assert not hub_with_tiny.requests("evil/code")
    assert not canary.sang


def test_main_moves_between_the_check_and_the_load(
    hub_with_tiny: LoopbackHub, tiny_repository: Path, canary: Canary
):
    checked = hub_with_tiny.repository(REPOSITORY).head.sha
    found = verify(f"{REPOSITORY}@main")
    assert (found.passed, found.target) == (True, f"{REPOSITORY}@{checked}")
    moved = plant_signed(
        hub_with_tiny,
        REPOSITORY,
        {**hostile_files(hub_with_tiny, canary), "model.safetensors": canary.pickle},
    )
    assert_whole(tiny_repository, found.target)
    with pytest.raises(CheckpointError):
        hub_models.load(f"{REPOSITORY}@{moved.sha}")
    assert not canary.sang


@pytest.mark.parametrize(
    "name", ["../../../../escaped", "/escaped", "..\\escaped", "a/../../../../../escaped"]
)
def test_a_hub_that_lists_files_outside_the_repository(
    hub_with_tiny: LoopbackHub, tiny_repository: Path, tmp_path: Path, name: str
):
    hub_with_tiny.plant(REPOSITORY, {name: b"escaped"})
    assert_whole(tiny_repository)  # which fetches what the manifest lists, and that lists none of them
    with contextlib.suppress(CheckpointError):
        assert not verify(f"{REPOSITORY}@main").passed
    outside = [path for path in tmp_path.rglob("*escaped*") if "snapshots" not in path.parts]
    assert outside == []
    assert not Path("/escaped").exists()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"path": "/_stored/", "method": "GET", "cut": 10_000}, id="cut once"),
        pytest.param({"path": "/_stored/", "method": "GET", "cut": 10_000, "times": 4}, id="cut four times"),
        pytest.param({"path": "/resolve/.*/config.json", "method": "GET", "cut": 10}, id="a small file cut"),
        pytest.param({"path": "/_stored/", "delay": 0.5, "times": 3}, id="slow"),
        pytest.param({"path": "/resolve/", "status": 500, "times": 3}, id="500 three times"),
        pytest.param({"path": "/api/models/", "status": 503, "times": 3}, id="503 three times"),
    ],
)
def test_a_bad_network_is_overcome(
    hub_with_tiny: LoopbackHub, tiny_repository: Path, fault: dict[str, object]
):
    hub_with_tiny.fault(**fault)
    assert_whole(tiny_repository)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"path": "/_stored/", "method": "GET", "cut": 10_000, "times": 99}, id="always cut"),
        pytest.param(
            {"path": "/_stored/", "method": "GET", "content": b"short", "times": 99},
            id="too short",
        ),
        pytest.param(
            {"path": "model.safetensors", "method": "HEAD", "size": 7, "times": 99},
            id="size too small",
        ),
        pytest.param(
            {"path": "model.safetensors", "method": "HEAD", "size": 10**15, "times": 99},
            id="size too large",
        ),
        pytest.param({"path": "/tree/", "content": b"not JSON", "times": 99}, id="no JSON"),
        pytest.param({"path": "/tree/", "content": b"[{}]", "times": 99}, id="not what was asked"),
        pytest.param({"path": "/_stored/", "method": "GET", "status": 500, "times": 99}, id="500 for ever"),
    ],
)
def test_a_hub_that_lies_or_fails_for_good_is_a_typed_error_and_leaves_no_half(
    hub_with_tiny: LoopbackHub, tiny_repository: Path, fault: dict[str, object]
):
    hub_with_tiny.fault(**fault)
    with pytest.raises(HubError, match=REPOSITORY):
        hub_models.load(REPOSITORY)
    hub_with_tiny.faults.clear()
    assert_whole(tiny_repository)


def test_bytes_of_the_right_size_but_others(hub_with_tiny: LoopbackHub, tiny_repository: Path):
    weights = (tiny_repository / "model.safetensors").read_bytes()
    forged = weights[:-1] + bytes([weights[-1] ^ 1])
    stored = hub_with_tiny.repository(REPOSITORY).head.files["model.safetensors"].sha256
    hub_with_tiny.fault(f"/_stored/{stored}", method="GET", content=forged, times=99)
    with pytest.raises(HubError, match=r"model\.safetensors: altered or damaged"):
        hub_models.load(REPOSITORY)


def test_a_full_disk(hub_with_tiny: LoopbackHub, tiny_repository: Path, monkeypatch: pytest.MonkeyPatch):
    with full_disk(room=100_000), pytest.raises(HubError, match="check free space"):
        hub_models.load(REPOSITORY)
    left = [path for path in Path(constants.HF_HUB_CACHE).rglob("*") if path.suffix == ".incomplete"]
    assert left == []
    assert_whole(tiny_repository)


def test_what_is_cached_outlives_the_hub(hub_with_tiny: LoopbackHub, tiny_repository: Path):
    assert_whole(tiny_repository)
    commit = hub_with_tiny.repository(REPOSITORY).head.sha
    hub_with_tiny.fault(".*", status=500, times=999)
    assert_whole(tiny_repository, f"{REPOSITORY}@{commit}")
    assert hub_with_tiny.seen[-1].status == 200
