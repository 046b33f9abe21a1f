from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hub_models
from hub_models import paths
from hub_models.cli import app, main
from hub_models.publishing.export_pipeline import PIPELINES


@pytest.fixture
def released(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of two models, seen from an empty current directory."""
    for name in ("one", "two"):
        shutil.copytree(tiny_checkpoint, tmp_path / "checkpoints" / name)
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_as_json_has_an_object_for_each_model(released: Path):
    entries = json.loads(run("list", "--json"))
    assert [entry["name"] for entry in entries] == ["one", "two"]
    assert all(isinstance(entry["size"], int) and entry["task"] == "image-uncertainty" for entry in entries)


def test_list_as_a_table_names_each_model(released: Path):
    assert {"one", "two", "research-only"} <= set(run("list").split())


def test_list_of_an_empty_zoo(released: Path):
    shutil.rmtree(released / "checkpoints")
    assert json.loads(run("list", "--json")) == []
    assert "no checkpoint" in run("list")


def test_export_prints_a_folder_that_loads(released: Path):
    folder = run("export", "one").strip()
    assert folder == "dist/hub/one"
    assert hub_models.load(folder).config.backbone == "test_efficientnet"


def test_export_of_all_goes_where_it_is_told(released: Path):
    names = ["one", "two", *PIPELINES]
    assert run("export", "--all", "--out", "elsewhere").split() == [f"elsewhere/{name}" for name in names]


@pytest.mark.parametrize("arguments", [["export"], ["export", "one", "--all"]])
def test_export_wants_a_name_or_all(released: Path, arguments: list[str]):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "either a NAME or --all" in result.output


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
