"""Each named check passes on an export, and fails on the one thing it is there for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hub_models import published
from hub_models.atomic import file_sha256
from hub_models.errors import CheckpointError
from hub_models.manifest import MANIFEST, read_manifest, write_manifest
from hub_models.published import Published, record_published
from hub_models.publishing import verify_files
from hub_models.publishing.repositories import export_repository
from hub_models.publishing.verification import Outcome, Verification
from hub_models.publishing.verify import exported, verify

PASSED, FAILED, NOT_MADE = Outcome.PASSED, Outcome.FAILED, Outcome.NOT_MADE
LINE = {
    "model": "tiny",
    "seed": 0,
    "task": "errors@1",
    "metric": "auroc",
    "read_out": "error",
    "value": 0.81234,
    "low": 0.8,
    "high": 0.825,
}
HEADER = "---\nlicense: mit\nlibrary_name: transformers\ntags: [x]\n---\n"


@pytest.fixture(autouse=True)
def no_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This package knows of no release yet."""
    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "published.json")
    return tmp_path / "published.json"


@pytest.fixture
def repository(tiny_repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_repository, tmp_path / "tiny"))


@pytest.fixture(scope="module")
def of_each_kind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hub")
    for name in ("spell-ddpm", "datasets/battery_fmea", "spaces/root_cause"):
        export_repository(name, out)
    return out


def sign(folder: Path) -> None:
    """Make the manifest list the files as they are."""
    about = read_manifest(folder)
    write_manifest(folder, {key: value for key, value in about.items() if key != "files"})


def outcomes(verification: Verification) -> dict[str, Outcome]:
    return {each.name: each.outcome for each in verification.checks}


def failure(folder: Path, **options: bool) -> tuple[str, str]:
    """Name and detail of the only check that fails."""
    [failed] = verify(folder, **options).failures
    return failed.name, failed.detail


def test_a_model_passes_every_check(tiny_repository: Path):
    found = verify(tiny_repository)
    assert found.passed
    assert outcomes(found) == {
        "name": PASSED,
        "checksums": PASSED,
        "nothing else": PASSED,
        "contents": PASSED,
        "pins": PASSED,
        "origin": NOT_MADE,
        "code": PASSED,
        "golden output": PASSED,
        "card figures": NOT_MADE,
        "card metadata": PASSED,
        "card examples": NOT_MADE,
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("spell-ddpm", {"code": PASSED, "golden output": NOT_MADE}),
        ("datasets/battery_fmea", {"no script": PASSED, "loading": PASSED}),
        ("spaces/root_cause", {"contents": PASSED, "pins": PASSED, "card metadata": PASSED}),
    ],
)
def test_other_kinds_pass_too(of_each_kind: Path, name: str, expected: dict[str, Outcome]):
    found = verify(of_each_kind / name)
    assert found.passed, found.failures
    assert outcomes(found).items() >= expected.items()


def test_all_exports_below_a_folder_are_found(of_each_kind: Path):
    names = [folder.relative_to(of_each_kind).as_posix() for folder in exported(of_each_kind)]
    assert names == ["datasets/battery_fmea", "spaces/root_cause", "spell-ddpm"]


@pytest.mark.parametrize("name", ["config.json", "README.md", "errors.py", "model.safetensors"])
def test_an_altered_file(repository: Path, name: str):
    (repository / name).write_bytes((repository / name).read_bytes() + b" ")
    checks = outcomes(verify(repository))
    assert checks["checksums"] is FAILED
    assert "golden output" not in checks, "nothing is opened once the files are not those listed"


def test_a_file_that_the_manifest_does_not_list(repository: Path):
    (repository / "notes.md").write_text("")
    (repository / ".gitattributes").write_text("")
    assert failure(repository) == ("nothing else", "notes.md: not in MANIFEST.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.pth", b"", "may be a pickle"),
        ("model.safetensors", b"\x80\x04\x95....", "does not hold what its name says"),
        ("model.safetensors", b"\xff" * 8 + b"{}", "does not hold what its name says"),
        ("extra.json", b"\x80\x04", "does not hold what its name says"),
        ("picture.png", b"PK\x03\x04", "does not start with"),
        ("hidden.txt", b"a\0b", "binary, not a text"),
        ("data.parquet", b"\x93NUMPY", "does not start with"),
        ("program.exe", b"MZ", "of a kind that no repository of this project has"),
    ],
)
def test_what_may_run_on_reading(repository: Path, name: str, content: bytes, message: str):
    (repository / name).write_bytes(content)
    sign(repository)
    check, detail = failure(repository)
    assert (check, message in detail) == ("contents", True), detail


def test_every_suffix_of_an_export_has_a_reader(repository: Path, of_each_kind: Path):
    for folder in (repository, *exported(of_each_kind)):
        suffixes = {Path(name).suffix for name in verify_files.files_of(folder)}
        assert suffixes <= verify_files.READERS.keys()


@pytest.mark.parametrize("target", ["other/repository--modeling.Model", "elsewhere.Model", "os.path.Model"])
def test_code_from_elsewhere(repository: Path, target: str):
    config = json.loads((repository / "config.json").read_text())
    config["auto_map"]["AutoModel"] = target
    (repository / "config.json").write_text(json.dumps(config))
    sign(repository)
    assert failure(repository) == ("pins", f"{target}: its code is not in this repository")


@pytest.mark.parametrize(
    "line",
    ["gradio", "gradio>=6", "gradio==6.*,<7", "hub-models @ https://example.org/x.whl", "-r other.txt", "."],
)
def test_a_requirement_that_is_not_pinned(of_each_kind: Path, tmp_path: Path, line: str):
    folder = Path(shutil.copytree(of_each_kind / "spaces/root_cause", tmp_path / "space"))
    with (folder / "requirements.txt").open("a") as file:
        file.write(f"\n{line}\n")
    sign(folder)
    check, detail = failure(folder)
    assert (check, f"{line!r} is not pinned" in detail) == ("pins", True)


def test_a_space_whose_sdk_is_not_what_it_pins(of_each_kind: Path, tmp_path: Path):
    folder = Path(shutil.copytree(of_each_kind / "spaces/root_cause", tmp_path / "space"))
    text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(text.replace("sdk_version: ", "sdk_version: 1"))
    sign(folder)
    assert failure(folder)[0] == "card metadata"


def test_a_script_in_a_data_set(of_each_kind: Path, tmp_path: Path):
    folder = Path(shutil.copytree(of_each_kind / "datasets/battery_fmea", tmp_path / "battery_fmea"))
    (folder / "battery_fmea.py").write_text("")
    sign(folder)
    assert failure(folder) == ("no script", "battery_fmea.py: a data set may hold no script")


def test_a_card_that_names_data_files_that_are_not_there(of_each_kind: Path, tmp_path: Path):
    folder = Path(shutil.copytree(of_each_kind / "datasets/battery_fmea", tmp_path / "battery_fmea"))
    (folder / "data/contradictions-00000-of-00001.parquet").unlink()
    sign(folder)
    failed = {each.name: each.detail for each in verify(folder).failures}
    assert failed["card metadata"] == "README.md: no file data/contradictions-* of split contradictions"


def test_other_code_than_ours(repository: Path):
    (repository / "errors.py").write_text("import os\n")
    sign(repository)
    check, detail = failure(repository)
    assert (check, detail.startswith("errors.py: not the code of the installed hub-models")) == ("code", True)


def test_code_of_another_version_is_said_and_not_blamed(repository: Path):
    (repository / "errors.py").write_text("import os\n")
    write_manifest(repository, {"name": "tiny", "kind": "model", "hub_models": "0.0.9"})
    [code] = [each for each in verify(repository).checks if each.name == "code"]
    assert (code.outcome, code.detail.startswith("written by hub-models 0.0.9")) == (NOT_MADE, True)


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    sign(folder)


def test_weights_that_give_another_output(repository: Path):
    change_weights(repository, lambda tensors: tensors["heads.error.members.0.0.bias"].add_(0.1))
    check, detail = failure(repository)
    assert (check, "not as stored" in detail) == ("golden output", True)


def test_a_tensor_too_many(repository: Path):
    change_weights(repository, lambda tensors: tensors.update(stray=torch.zeros(1)))
    check, detail = failure(repository)
    assert (check, "unexpected: stray" in detail) == ("golden output", True)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("# no header", "license is missing"),
        ("---\nlicense: other\nlibrary_name: x\ntags: [x]\n---\n", "license_name is missing"),
        ("---\nlicense: [\n---\n", "its header cannot be parsed"),
        (HEADER + "<script>alert(1)</script>", "could run where the card is shown"),
        (HEADER + '<img src=x onerror="alert(1)">', "could run where the card is shown"),
    ],
)
def test_a_card_that_the_hub_could_not_use(repository: Path, card: str, message: str):
    (repository / "README.md").write_text(card)
    sign(repository)
    failed = {each.name: each.detail for each in verify(repository).failures}
    assert message in failed["card metadata"]


INDEX = """\
model-index:
- name: tiny
  results:
  - task: {{type: x}}
    dataset: {{type: x, name: x}}
    metrics: [{{type: auroc, value: {value}}}]
"""


@pytest.mark.parametrize(
    ("body", "untraced"),
    [
        ("It reaches 0.812 [0.800, 0.825], or 81.234 %; see 2402.16569 and 1.2.3, `0.999`.", None),
        ("| 0.81 |\n```\n0.999\n```\nAt 0.5 and 0.99 it stops. https://example.org/0.9999", None),
        ("It reaches 0.813.", "0.813"),
        ("| AUROC | 0.99 |", "0.99"),
        ("| AUROC | 0.812 | 0.801 to 0.825 |", "0.801"),
    ],
)
def test_figures_are_lines_of_the_results(repository: Path, body: str, untraced: str | None):
    (repository / "results.jsonl").write_text(json.dumps(LINE) + "\n")
    (repository / "README.md").write_text(f"{HEADER}{body}\n")
    sign(repository)
    if untraced is None:
        assert outcomes(verify(repository))["card figures"] is PASSED
    else:
        assert failure(repository) == ("card figures", f"README.md: {untraced} not in results.jsonl")


def test_figures_of_several_seeds_may_be_their_mean_and_deviation(repository: Path):
    lines = [{**LINE, "seed": seed, "value": value} for seed, value in enumerate((0.2, 0.4, 0.6))]
    (repository / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (repository / "README.md").write_text(f"{HEADER}| 0.400 ± 0.200 |")
    sign(repository)
    assert outcomes(verify(repository))["card figures"] is PASSED


@pytest.mark.parametrize(("value", "outcome"), [(0.81234, PASSED), (0.9, FAILED)])
def test_the_index_of_results_is_traced_too(repository: Path, value: float, outcome: Outcome):
    (repository / "results.jsonl").write_text(json.dumps(LINE) + "\n")
    header = HEADER.replace("tags", INDEX.format(value=value) + "tags")
    (repository / "README.md").write_text(header)
    sign(repository)
    assert outcomes(verify(repository))["card figures"] is outcome


def test_examples_run_only_where_that_is_asked_for(repository: Path, tmp_path: Path):
    ran = tmp_path / "ran"
    block = (
        f'import pathlib\nassert pathlib.Path("tiny/config.json").is_file()\npathlib.Path("{ran}").touch()\n'
    )
    (repository / "README.md").write_text(f"{HEADER}\n```python\n{block}```\n")
    sign(repository)
    assert outcomes(verify(repository))["card examples"] is NOT_MADE
    assert not ran.exists()
    assert outcomes(verify(repository, run_examples=True))["card examples"] is PASSED
    assert ran.exists()


def test_an_example_that_fails(repository: Path):
    (repository / "README.md").write_text(f"{HEADER}\n```python\nraise SystemExit('no such luck')\n```\n")
    sign(repository)
    check, detail = failure(repository, run_examples=True)
    assert (check, "no such luck" in detail) == ("card examples", True)


@pytest.mark.parametrize("name", ["../evil", "", ".", "a/b", "a b"])
def test_a_name_that_is_none(repository: Path, name: str):
    write_manifest(repository, {"name": name, "kind": "model"})
    assert failure(repository)[0] == "name"


def test_an_unknown_kind(repository: Path):
    write_manifest(repository, {"name": "tiny", "kind": "bucket"})
    assert failure(repository)[0] == "name"


def test_origin_is_told_by_the_package_and_not_by_the_repository(repository: Path):
    sha256 = file_sha256(repository / MANIFEST)
    record_published("tiny", Published("zoo/tiny", "model", "c" * 40, sha256))
    [origin] = [each for each in verify(repository).checks if each.name == "origin"]
    assert (origin.outcome, origin.detail) == (PASSED, f"published by this project as zoo/tiny@{'c' * 12}")
    (repository / "LICENSE").write_text("another")
    sign(repository)
    [origin] = [each for each in verify(repository).checks if each.name == "origin"]
    assert (origin.outcome, "differs from the release" in origin.detail) == (NOT_MADE, True)


def test_what_is_neither_a_folder_nor_a_reference(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"has no MANIFEST\.json"):
        verify(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="neither an exported folder nor org/name@revision"):
        verify("nothing-of-that-name")
