"""Attacks on a repository that lies on disk. The manifest is always made to match: only what it cannot say protects."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import hub_models
from hub_models.errors import CheckpointError
from hub_models.publishing.export import export
from hub_models.publishing.repositories import export_repository
from hub_models.publishing.verify import verify

from .hostile import Canary, edit_json, full_disk, safetensors, sign

PIECE = b'"x%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path / "sang")


@pytest.fixture
def repository(tiny_repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_repository, tmp_path / "tiny"))


@pytest.fixture(scope="module")
def exported_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_repository("digits-flow-memorised", tmp_path_factory.mktemp("out"))


@pytest.fixture
def generator(exported_generator: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported_generator, tmp_path / exported_generator.name))


def refused(folder: Path, check: str) -> None:
    """Neither our loader nor our checks accept it; the checks say which of them failed."""
    with pytest.raises(CheckpointError):
        hub_models.load(folder)
    assert check in {failure.name for failure in verify(folder).failures}


def test_hostile_code_in_every_file_never_runs(repository: Path, generator: Path, canary: Canary):
    for folder in (repository, generator):
        for path in folder.rglob("*.py"):
            path.write_text(canary.code)
        sign(folder)
        hub_models.load(folder)
        assert "code" in {failure.name for failure in verify(folder).failures}
    hub_models.load_image_processor(repository)
    assert not canary.sang


@pytest.mark.parametrize("keep_the_name", [True, False])
def test_weights_that_are_a_pickle(repository: Path, canary: Canary, keep_the_name: bool):
    weights = repository / "model.safetensors"
    if not keep_the_name:
        weights.unlink()
        weights = repository / "pytorch_model.bin"
    weights.write_bytes(canary.pickle)
    sign(repository)
    refused(repository, "contents")
    assert not canary.sang


@pytest.mark.parametrize("keep_the_name", [True, False])
def test_a_generator_whose_weights_are_a_pickle(generator: Path, canary: Canary, keep_the_name: bool):
    weights = generator / "unet/diffusion_pytorch_model.safetensors"
    if not keep_the_name:
        weights.unlink()
        weights = weights.with_suffix(".bin")
    weights.write_bytes(canary.pickle)
    sign(generator)
    refused(generator, "contents")
    assert not canary.sang


def test_stored_outputs_that_are_a_pickle(repository: Path, canary: Canary):
    (repository / "golden.safetensors").write_bytes(canary.pickle)
    sign(repository)
    assert "contents" in {failure.name for failure in verify(repository).failures}
    assert not canary.sang


@pytest.mark.parametrize(
    "changes",
    [
        {"auto_map": {"AutoConfig": "evil/code--modeling.Config", "AutoModel": "evil/code--modeling.Model"}},
        {
            "custom_pipelines": {
                "image-uncertainty": {"impl": "evil/code--x.P", "pt": ["AutoModel"], "type": "image"}
            }
        },
    ],
)
def test_code_of_another_repository(repository: Path, changes: dict[str, object]):
    edit_json(repository / "config.json", **changes)
    sign(repository)
    hub_models.load(repository)  # which takes no code from anywhere, so the map is as good as absent
    assert "pins" in {failure.name for failure in verify(repository).failures}


def test_a_generator_with_a_component_of_its_own(generator: Path, canary: Canary):
    (generator / "unet/hostile.py").write_text(canary.code)
    (generator / "hostile.py").write_text(canary.code)
    edit_json(generator / "model_index.json", unet=["hostile", "Network"])
    sign(generator)
    hub_models.load(generator)  # which builds our network, whatever the index says
    assert not verify(generator).passed
    assert not canary.sang


def test_a_generator_of_another_class(generator: Path):
    edit_json(generator / "model_index.json", _class_name=["os", "system"])
    sign(generator)
    refused(generator, "pins")


@pytest.mark.parametrize("target", ["file", "folder"])
def test_a_link_to_what_nobody_checks(repository: Path, tmp_path: Path, target: str):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "modeling.py").write_text("")
    link = repository / "sub"
    link.symlink_to(outside if target == "folder" else outside / "modeling.py")
    refused(repository, "checksums")
    with pytest.raises(CheckpointError, match="sub: a link"):
        sign(repository)


@pytest.mark.parametrize(
    "name", ["../config.json", "/etc/hostname", "conf\u0456g.json", "a\u202eb", "x\\..\\y"]
)
def test_a_manifest_that_names_what_is_not_in_the_folder(repository: Path, name: str):
    manifest = json.loads((repository / "MANIFEST.json").read_text())
    manifest["files"][name] = "0" * 64
    (repository / "MANIFEST.json").write_text(json.dumps(manifest))
    for use in (hub_models.load, hub_models.load_image_processor, verify):
        with pytest.raises(CheckpointError, match=r"MANIFEST\.json: damaged"):
            use(repository)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(safetensors(b"{}", claimed=2**63), id="claims more than any memory"),
        pytest.param(safetensors(b"{}", claimed=100_000_001), id="claims more than is allowed"),
        pytest.param(safetensors(b"{}", claimed=90_000_000), id="claims more than there is"),
        pytest.param(safetensors(b"[" * 1_000_000), id="nested a million deep"),
        pytest.param(
            safetensors(b"{%s}" % b",".join(PIECE % i for i in range(10_000))), id="many empty tensors"
        ),
        pytest.param(
            safetensors(
                b'{"a":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,8]}}',
                data=b"8 bytes!",
            ),
            id="a shape beyond all numbers",
        ),
        pytest.param(
            safetensors(b'{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,99999999]}}', data=b"8 bytes!"),
            id="data beyond the end",
        ),
    ],
)
def test_a_header_made_to_break_the_reader(repository: Path, content: bytes):
    (repository / "model.safetensors").write_bytes(content)
    sign(repository)
    with pytest.raises(CheckpointError):
        hub_models.load(repository)
    assert not verify(repository).passed


def test_a_summary_that_would_run_in_a_browser_is_never_published(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = Path(shutil.copytree(tiny_checkpoint, tmp_path / "tiny"))
    recipe = source / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("A tiny model", "<script>alert(1)</script> A tiny model"))
    monkeypatch.setattr("hub_models.checkpoint_folder.check_files", lambda *_: None)  # as if trained so
    failed = {failure.name: failure.detail for failure in verify(export(source, tmp_path / "out")).failures}
    assert "'<script', which could run" in failed["card metadata"]


def test_a_full_disk_leaves_the_earlier_export(tiny_checkpoint: Path, tmp_path: Path):
    before = contents(export(tiny_checkpoint, tmp_path).parent)
    with full_disk(100_000), pytest.raises(CheckpointError, match=r"cannot be written .*; check free space"):
        export(tiny_checkpoint, tmp_path)
    assert contents(tmp_path) == before


def test_a_full_disk_leaves_no_half_in_the_cache(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path))
    with full_disk(100_000), pytest.raises(CheckpointError, match=r"cannot be written .*; check free space"):
        hub_models.load(tiny_checkpoint)
    assert not any(contents(tmp_path).values())
    hub_models.load(tiny_checkpoint)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
