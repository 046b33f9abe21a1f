"""Data sets, Spaces and the wheel as repositories, what their manifests say, and the code that upstream would copy."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest
from diffusers.utils import dynamic_modules_utils as of_diffusers
from huggingface_hub import DatasetCard, SpaceCard
from transformers import dynamic_module_utils as of_transformers

from hub_models import datasets_builder
from hub_models.atomic import file_sha256
from hub_models.checkpoint_folder import RECIPE, open_checkpoint, read_recipe
from hub_models.errors import CheckpointError
from hub_models.families import FAMILIES
from hub_models.manifest import read_manifest
from hub_models.published_code import PACKAGE, closure
from hub_models.publishing.export_pipeline import GENERATOR_ENTRY, PIPELINES, spell_folder
from hub_models.publishing.export_space import export_space
from hub_models.publishing.export_wheel import export_wheel, wheel_name
from hub_models.publishing.provenance import about_checkpoint, last_commit
from hub_models.publishing.repositories import (
    export_repository,
    repository_names,
    skipped_repositories,
    split_name,
)
from hub_models.publishing.training_data import KNOWN, training_data
from hub_models.space_servers import space_names
from hub_models.zoo import released_checkpoints

#: Every entry file that a repository of ours can have, with the folder of its source.
ENTRIES = [
    *((PACKAGE / entry) for family in FAMILIES for entry in family.entry_files),
    *((spell_folder() / pipeline.entry) for pipeline in PIPELINES.values()),
    spell_folder() / GENERATOR_ENTRY,
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("upstream", [of_transformers, of_diffusers], ids=["transformers", "diffusers"])
def test_the_scanners_of_both_libraries_find_exactly_the_closure(entry: Path, upstream):
    ours = {path.name for path in closure([entry.name], entry.parent)} - {entry.name}
    direct = {f"{name}.py" for name in upstream.get_relative_imports(entry)}
    followed = {Path(name).with_suffix(".py").name for name in upstream.get_relative_import_files(entry)}
    assert direct == followed == ours


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_repository("datasets/battery_fmea", tmp_path_factory.mktemp("hub"))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_data_set_is_parquet_a_card_and_its_source(data_set: Path, tmp_path: Path):
    assert data_set.parent.name == "datasets"
    files = contents(data_set)
    assert {Path(name).suffix for name in files} == {".parquet", ".csv", ".md", ".json", ""}
    assert len([name for name in files if name.endswith(".parquet")]) == 5
    assert files == contents(export_repository("datasets/battery_fmea", tmp_path))


@pytest.mark.parametrize("name", space_names())
def test_a_space_is_its_app_and_the_same_each_time(name: str, tmp_path: Path):
    folder = export_repository(f"spaces/{name}", tmp_path / "a")
    files = contents(folder)
    assert {"app.py", "README.md", "requirements.txt", "style.css", "LICENSE"} <= files.keys()
    assert files == contents(export_repository(f"spaces/{name}", tmp_path / "b"))
    manifest = read_manifest(folder)
    assert (manifest["name"], manifest["kind"], manifest["licence"]) == (name, "space", "apache-2.0")


def test_an_owner_and_a_wheel_change_the_links_and_the_pin_of_a_space_and_nothing_else(tmp_path: Path):
    plain = contents(export_space("safe_retrieval", tmp_path / "plain"))
    wheel = "https://example.org/hub_models-0.1.0-py3-none-any.whl#sha256=" + "0" * 64
    owned = contents(export_space("safe_retrieval", tmp_path / "owned", "zoo", wheel))
    changed = {name for name in plain if plain[name] != owned[name]}
    assert changed == {"README.md", "requirements.txt", "MANIFEST.json"}
    models = SpaceCard(owned["README.md"].decode()).data.models
    assert "zoo/uncertainty-efficientnet-lite0" in models
    assert all(model.startswith("zoo/") for model in models)
    lines = owned["requirements.txt"].decode().splitlines()
    assert [line for line in lines if line.startswith("hub-models")] == [f"hub-models @ {wheel}"]
    assert len(lines) == len(plain["requirements.txt"].decode().splitlines())


def test_the_wheel_has_a_repository_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert "hub-models-wheel" not in repository_names()
    assert "`make dist` does it" in skipped_repositories()["hub-models-wheel"]
    with pytest.raises(CheckpointError, match="missing; build it with `make dist`"):
        export_wheel(tmp_path / "hub")
    Path("dist").mkdir()
    with zipfile.ZipFile(Path("dist", wheel_name()), "w") as archive:
        archive.writestr("hub_models/__init__.py", "")
    assert repository_names()[0] == "hub-models-wheel", "Spaces are pinned to it, so it is pushed first"
    folder = export_repository("hub-models-wheel", tmp_path / "hub")
    assert read_manifest(folder)["wheel_sha256"] == file_sha256(folder / wheel_name())


def test_sets_of_images_that_are_not_ours_are_skipped_with_the_reason():
    skipped = skipped_repositories()
    sets = {f"datasets/{path.parent.name}" for path in datasets_builder.SCRIPTS.glob("*/build.py")}
    assert sets == {name for name in {*skipped, *repository_names()} if name.startswith("datasets/")}
    assert "not ours to pass on" in skipped["datasets/cars196"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("datasets/cars196", "not published: built from your own copy"),
        ("datasets/nothing", "choose from battery_fmea"),
        ("spaces/nothing", "choose from root_cause, safe_retrieval"),
    ],
)
def test_what_cannot_be_exported_says_why(name: str, message: str, tmp_path: Path):
    with pytest.raises(CheckpointError, match=message):
        export_repository(name, tmp_path)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("tiny", ("model", "tiny")),
        ("datasets/a", ("dataset", "a")),
        ("spaces/a", ("space", "a")),
        ("zoo/a", ("model", "zoo/a")),
    ],
)
def test_a_name_says_the_kind_as_an_address_on_the_hub_does(name: str, parts: tuple[str, str]):
    assert split_name(name) == parts


def test_a_manifest_says_how_a_model_came_about(tiny_repository: Path, tiny_checkpoint: Path):
    manifest = read_manifest(tiny_repository)
    assert (manifest["name"], manifest["kind"], manifest["licence"]) == ("tiny", "model", "research-only")
    assert manifest["recipe_sha256"] == file_sha256(tiny_checkpoint / RECIPE)
    assert manifest["trained_with"] == open_checkpoint(tiny_checkpoint).checksums["trained_with"]
    assert manifest["commit"] is None, "its checkpoint lies in no git tree"
    assert manifest["training_data"] == []


@pytest.mark.parametrize("path", released_checkpoints(), ids=lambda path: path.name)
def test_the_terms_of_all_that_a_released_model_was_trained_on_are_told(path: Path):
    about = about_checkpoint(path, [])
    recipe = read_recipe(path / RECIPE)
    if "data" in recipe:
        assert about["training_data"], f"training_data.py does not know {recipe['data']}"
    assert all(each["licence"] and each["terms"] for each in about["training_data"])


@pytest.mark.parametrize(
    "card", sorted(datasets_builder.SCRIPTS.glob("*/README.md")), ids=lambda p: p.parent.name
)
def test_the_recorded_terms_are_those_of_the_cards(card: Path):
    known = KNOWN[card.parent.name]
    data = DatasetCard.load(card).data
    assert known.licence == (data.get("license_name") if data.license == "other" else data.license)
    assert f"| terms | {known.terms} |" in card.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "data", [{"images": "dataset:cars196"}, {"table": "../x/cars196"}, {"sets": [{"images": "cars196"}]}]
)
def test_a_recipe_names_its_data_in_several_ways(data: dict[str, object]):
    assert [each["name"] for each in training_data({"data": data})] == ["cars196"]


def test_the_commit_is_the_last_that_changed_an_input_and_none_where_there_is_none(tmp_path: Path):
    def git(*command: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        done = subprocess.run(
            ["git", *identity, "-C", str(tmp_path), *command], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    one, two = tmp_path / "one" / "file", tmp_path / "two"
    one.parent.mkdir()
    one.write_text("1")
    two.write_text("2")
    assert last_commit([one, two]) is None
    git("init", "-q")
    assert last_commit([one, two]) is None
    git("add", "one")
    git("commit", "-qm", "one")
    first = git("rev-parse", "HEAD")
    assert last_commit([one]) == last_commit([one.parent]) == first
    assert last_commit([one, two]) is None, "two was never committed"
    git("add", "two")
    git("commit", "-qm", "two")
    assert (last_commit([one]), last_commit([one, two])) == (first, git("rev-parse", "HEAD"))
    one.write_text("changed")
    assert last_commit([one]) is None
