from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hub_models
from hub_models import paths, published, space_servers
from hub_models.cli import app, main
from hub_models.publishing import export_dataset
from hub_models.publishing.export_pipeline import PIPELINES

from ..hub.loopback.accounts import WRITE_TOKEN
from ..hub.loopback.clients import connect
from ..hub.loopback.server import LoopbackHub


@pytest.fixture
def released(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of two models and no data set or Space, seen from an empty current directory."""
    for name in ("one", "two"):
        shutil.copytree(tiny_checkpoint, tmp_path / "checkpoints" / name)
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(export_dataset, "SCRIPTS", tmp_path / "none")
    monkeypatch.setattr(space_servers, "SPACES", tmp_path / "none")
    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "published.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hub(released: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """An empty Hub that this process talks to."""
    with LoopbackHub(released / "hub") as server:
        connect(server, released / "home", monkeypatch)
        yield server
    assert server.crashes == []


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == status, result.output
    return result.stdout


def test_list_as_json_has_an_object_for_each_model(released: Path):
    entries = json.loads(run("list", "--json"))
    assert [entry["name"] for entry in entries] == ["one", "two"]
    assert all(isinstance(entry["size"], int) and entry["task"] == "image-uncertainty" for entry in entries)


def test_list_as_a_table_names_each_model(released: Path):
    assert {"one", "two", "research-only", "image-uncertainty"} <= set(run("list").split())


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--task", "Image-Uncertainty"], ["one", "two"]),
        (["--task", "failure-network"], []),
        (["--licence", "research-only"], ["one", "two"]),
        (["--task", "image-uncertainty", "--licence", "mit"], []),
    ],
)
def test_list_can_be_filtered(released: Path, arguments: list[str], names: list[str]):
    assert [entry["name"] for entry in json.loads(run("list", "--json", *arguments))] == names


def test_a_filter_that_leaves_nothing_says_what_there_is(released: Path):
    result = CliRunner().invoke(app, ["list", "--task", "weather"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no such model; tasks: image-uncertainty; licences: research-only\n"


def test_list_of_an_empty_zoo(released: Path):
    shutil.rmtree(released / "checkpoints")
    assert json.loads(run("list", "--json")) == []
    assert "no checkpoint" in run("list")


def test_export_prints_a_folder_that_loads(released: Path):
    folder = run("export", "one").strip()
    assert folder == "dist/hub/one"
    assert hub_models.load(folder).config.backbone == "test_efficientnet"


def test_export_of_all_goes_where_it_is_told_and_says_what_it_leaves_out(released: Path):
    result = CliRunner().invoke(app, ["export", "--all", "--out", "elsewhere"])
    names = ["one", "two", *PIPELINES]
    assert result.stdout.split() == [f"elsewhere/{name}" for name in names]
    assert "skipped: hub-models-wheel: dist/hub_models-" in result.stderr


@pytest.mark.parametrize("command", [["export"], ["push", "--org", "zoo"]])
@pytest.mark.parametrize("arguments", [[], ["one", "--all"]])
def test_a_name_or_all_is_wanted(released: Path, command: list[str], arguments: list[str]):
    result = CliRunner().invoke(app, [*command, *arguments])
    assert result.exit_code == 2
    assert "either a NAME or --all" in result.output


def test_verify_prints_every_check_and_exits_by_the_outcome(released: Path):
    run("export", "spell-ddpm")
    text = run("verify", "spell-ddpm")
    assert text.startswith("spell-ddpm: passed\n    passed    name ")
    Path("dist/hub/spell-ddpm/weights.pkl").write_bytes(b"\x80\x04")
    text = run("verify", "--all", status=1)
    assert "dist/hub/spell-ddpm: FAILED" in text
    assert "failed    contents       weights.pkl: may be a pickle" in text


def test_verify_as_json(released: Path):
    run("export", "spell-ddpm")
    [found] = json.loads(run("verify", "dist/hub/spell-ddpm", "--json"))
    assert (found["passed"], found["target"]) == (True, "dist/hub/spell-ddpm")
    assert {"name": "checksums", "outcome": "passed"}.items() <= found["checks"][1].items()


def test_verify_without_an_export_says_what_to_do(
    released: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["hub-models", "verify", "--all"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "run `hub-models export --all` first" in capsys.readouterr().err


def test_push_then_verify_and_load_from_the_hub(hub: LoopbackHub):
    said = run("push", "spell-ddpm", "--org", "zoo", "--dry-run")
    assert said.startswith(f"{hub.url}/zoo/spell-ddpm: would be made; ")
    assert hub.repositories == {}
    said = run("push", "spell-ddpm", "--org", "zoo")
    commit = hub.repository("zoo/spell-ddpm").head.sha
    assert said.startswith(f"{hub.url}/zoo/spell-ddpm: was made at {commit}; ")
    assert WRITE_TOKEN not in said
    assert "as it is, nothing to do" in run("push", "spell-ddpm", "--org", "zoo")
    assert run("verify", "zoo/spell-ddpm@main").startswith(f"zoo/spell-ddpm@{commit}: passed")
    hub.plant("zoo/spell-ddpm", {"pipeline.py": b"import os"})
    assert "failed    checksums" in run("verify", "zoo/spell-ddpm", status=1)


def test_a_release_is_recorded_where_it_is_asked_for_and_tells_the_origin(hub: LoopbackHub, released: Path):
    run("push", "spell-ddpm", "--org", "zoo")
    assert published.read_published() == {}
    [report] = json.loads(run("push", "spell-ddpm", "--org", "zoo", "--release", "--json"))
    release = published.read_published()["spell-ddpm"]
    assert (release.repository, release.commit) == ("zoo/spell-ddpm", report["commit"])
    assert "passed    origin         published by this project as" in run("verify", "zoo/spell-ddpm")
    manifest = {"name": "spell-ddpm", "kind": "model", "files": {}}
    other = hub.plant("zoo/spell-ddpm", {"MANIFEST.json": json.dumps(manifest).encode()}).sha
    said = run("verify", f"zoo/spell-ddpm@{other}", status=1)
    assert "not made  origin         differs from the release that this hub-models knows" in said


def test_an_unknown_name_is_one_line_and_status_2(
    released: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["hub-models", "export", "onne"])
    with pytest.raises(SystemExit, match="2"):
        main()
    captured = capsys.readouterr()
    assert (
        captured.err
        == "error: model 'onne' is not in the zoo; did you mean one? `hub-models list` shows all\n"
    )
