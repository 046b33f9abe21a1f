from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from hub_models import zoo
from hub_models.cli import main
from hub_models.cli.retrieve import Kind
from hub_models.credible_cap import cap_share, cosine_quantile
from hub_models.image_sources import FolderSource
from hub_models.prediction import predict
from hub_models.retrieval.index import IndexKind

from ..generated_images import write_images
from ..tiny_embedding import tiny_embedding_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::hub_models.prediction.OutsideReferenceWarning")

MAIN = "from hub_models.cli import main; main()"


def run(*arguments: object, status: int = 0) -> tuple[str, str]:
    """Run a command and check its exit status: standard output and error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["hub-models", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert (ended.value.code or 0) == status, err.getvalue()
    return out.getvalue(), err.getvalue()


def invoke(*arguments: object) -> Any:
    """The JSON that a command prints."""
    return json.loads(run(*arguments, "--json")[0])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of each of two classes, one of them unreadable. Read only."""
    folder = write_images(tmp_path_factory.mktemp("photos"), 5, ("heron", "stork"))
    (folder / "heron" / "0003.png").write_bytes(b"not an image")
    return folder


@pytest.fixture(scope="module")
def calibrated(tiny_checkpoint: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a reference of `photos`."""
    folder = tmp_path_factory.mktemp("models") / "calibrated"
    answer = invoke("recalibrate", tiny_checkpoint, "--images", photos, "--output", folder)
    assert answer["model"] == str(folder)
    assert answer["reference_size"] == 9
    assert [item["name"] for item in answer["skipped"]] == ["heron/0003.png"]
    return folder


@pytest.fixture(scope="module")
def gallery(calibrated: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    answer = invoke("index", calibrated, "--images", photos, "--output", folder)
    assert answer == {
        "gallery": str(folder),
        "model": str(calibrated),
        "images": 9,
        "kind": "exact",
        "recall_at_10": 1.0,
        "skipped": answer["skipped"],
    }
    return folder


def test_predict_prints_what_the_library_gives(calibrated, photos):
    answer = invoke("predict", calibrated, photos)
    model, processor = zoo.load(calibrated), zoo.load_image_processor(calibrated)
    expected = list(predict(model, processor, FolderSource(photos)))
    assert answer["model"] == str(calibrated)
    assert [item["name"] for item in answer["images"]] == [e.name for e in expected if hasattr(e, "label")]
    assert [item["name"] for item in answer["skipped"]] == ["heron/0003.png"]
    first = answer["images"][0]
    assert first["uncertainty"] == pytest.approx(expected[0].uncertainty, rel=1e-4)
    assert first["label"] == f"class {expected[0].label}"
    assert "embedding" not in first


def test_predict_takes_files_and_folders_together_and_says_what_it_skips(calibrated, photos, tmp_path):
    shutil.copy(photos / "stork" / "0000.png", tmp_path / "one.png")
    out, err = run("predict", calibrated, tmp_path / "one.png", photos / "heron", tmp_path / "missing.png")
    assert len(out.splitlines()) == 1 + 5
    assert "one.png  class" in out
    assert err.count("skipped: ") == 2
    assert "missing.png: cannot be read" in err


def test_predict_warns_once_of_images_unlike_the_reference(tiny_checkpoint, photos):
    _, err = run("predict", tiny_checkpoint, photos)
    assert err.count("warning: 9 of 9 images (100%) lie outside the reference") == 1
    assert "prediction.py" not in err


def test_an_empty_folder_is_an_error(calibrated, tmp_path):
    out, err = run("predict", calibrated, tmp_path, status=2)
    assert out == ""
    assert err.startswith("error: ")
    assert "holds no image" in err


def test_nothing_readable_is_an_error(calibrated, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    _, err = run("predict", calibrated, tmp_path / "a.png", "--json", status=2)
    assert "error: none of the 1 images can be read" in err


def test_duplicate_paths_are_an_error(calibrated, photos):
    _, err = run("predict", calibrated, photos, photos / "stork" / "0000.png", status=2)
    assert "duplicate names" in err


def test_predict_to_a_file_goes_on_after_its_last_complete_line(calibrated, photos, tmp_path):
    output = tmp_path / "deep" / "out.jsonl"
    answer = invoke("predict", calibrated, photos, "--output", output)
    assert answer == {"output": str(output), "images": 10, "resumed_at": 0, "skipped_now": 1}
    whole = output.read_text()
    lines = [json.loads(line) for line in whole.splitlines()]
    assert [line["name"] for line in lines] == list(FolderSource(photos).names)
    assert [i for i, line in enumerate(lines) if "skipped" in line] == [3]

    output.write_text(whole[: len("".join(whole.splitlines(keepends=True)[:6])) + 30])
    assert invoke("predict", calibrated, photos, "--output", output)["resumed_at"] == 6
    again = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["name"] for line in again] == [line["name"] for line in lines]
    assert again[-1]["uncertainty"] == pytest.approx(lines[-1]["uncertainty"], rel=1e-4)
    assert invoke("predict", calibrated, photos, "--output", output)["resumed_at"] == 10


@pytest.mark.parametrize("line", ['{"model": "other", "name": "heron/0000.png"}', '{"name": 1}', "[]", "x"])
def test_predict_refuses_to_mix_files(calibrated, photos, tmp_path, line):
    output = tmp_path / "out.jsonl"
    output.write_text(line + "\n")
    _, err = run("predict", calibrated, photos, "--output", output, status=2)
    assert "line 1 is of another model or image" in err.replace("\n", " ").replace("│", "").replace("  ", " ")
    assert output.read_text() == line + "\n"


def test_a_killed_predict_goes_on_without_loss_or_duplicates(calibrated, tmp_path):
    images, output = write_images(tmp_path / "images", 150), tmp_path / "out.jsonl"
    command = [sys.executable, "-c", MAIN, "predict", str(calibrated), str(images), "--output", str(output)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while process.poll() is None and not (output.exists() and output.read_text().count("\n") >= 16):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    answer = invoke("predict", calibrated, images, "--output", output)
    assert 16 <= answer["resumed_at"] < 150
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["name"] for line in lines] == [f"{i:04d}.png" for i in range(150)]


def test_retrieve_finds_each_image_of_the_gallery(calibrated, gallery, photos):
    answer = invoke("retrieve", calibrated, "--gallery", gallery, photos, "-k", 3, "--abstain", 1)
    assert answer["policy"] == {"level": 1.0, "yardstick": "reference", "applies_to": "both"}
    assert [item["name"] for item in answer["skipped"]] == ["heron/0003.png"]
    assert len(answer["queries"]) == 9
    for item in answer["queries"]:
        assert item["abstained"] is None
        assert len(item["neighbours"]) == 3
        assert item["neighbours"][0]["name"] == item["query"]["name"]
        assert item["neighbours"][0]["similarity"] == pytest.approx(1, abs=1e-5)
        assert item["neighbours"][0]["class_name"] == item["query"]["name"].split("/")[0]


@pytest.mark.parametrize("per_class", [False, True])
def test_retrieve_withholds_the_uncertain_and_says_why(calibrated, gallery, photos, per_class):
    options = ["--abstain", 0.5] + ["--per-class"] * per_class
    answer = invoke("retrieve", calibrated, "--gallery", gallery, photos, *options)
    abstained = [item for item in answer["queries"] if item["abstained"]]
    assert 3 <= len(abstained) <= 5
    reason = "which 50% of class" if per_class else "of the reference images (limit 50%)"
    assert all(reason in item["abstained"] for item in abstained)
    out, _ = run("retrieve", calibrated, "--gallery", gallery, photos, *options)
    assert out.count("    withheld: ") == len(abstained)
    assert reason in out


def test_retrieve_refuses_a_gallery_of_another_model(tiny_checkpoint, gallery, photos):
    _, err = run("retrieve", tiny_checkpoint, "--gallery", gallery, photos / "stork", status=2)
    assert err.startswith("error: the gallery was made by model")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--abstain", 2], "level is 2.0"),
        (["-k", 0], "k is 0"),
        (["--gallery", "nowhere"], "gallery.json: missing"),
    ],
)
def test_retrieve_refuses_bad_options(calibrated, gallery, photos, options, message):
    _, err = run("retrieve", calibrated, "--gallery", gallery, photos / "stork", *options, status=2)
    assert message in err


def test_index_with_an_approximate_kind_tells_its_recall(calibrated, photos, tmp_path):
    assert [kind.value for kind in Kind] == list(get_args(IndexKind))
    out, err = run("index", calibrated, "--images", photos, "--output", tmp_path, "--kind", "hnsw")
    assert "9 images, hnsw index, recall@10 1.000 of exact search" in out
    assert "skipped: heron/0003.png" in err


def test_map_writes_a_page_and_a_picture_and_can_be_repeated(calibrated, photos, tmp_path):
    for _ in range(2):
        answer = invoke("map", calibrated, "--images", photos, "--output", tmp_path)
        assert answer["shown"] == answer["images"] == 9
        assert Path(answer["page"]).read_text().startswith("<!doctype html>")
        assert Path(answer["picture"]).read_bytes().startswith(b"\x89PNG")


def test_recalibrated_percentiles_are_those_of_the_images(calibrated, photos):
    percentiles = [item["percentile"] for item in invoke("predict", calibrated, photos)["images"]]
    np.testing.assert_allclose(sorted(percentiles), np.linspace(0, 1, 9), atol=0.02)


def test_recalibrate_without_output_makes_a_model_that_is_found_by_name(
    tiny_checkpoint, photos, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    answer = invoke("recalibrate", tiny_checkpoint, "--images", photos)
    assert answer["model"] == "dist/hub/tiny-recalibrated"
    assert zoo.load("tiny-recalibrated").config.reference_name == photos.name


def test_the_commands_import_torch_only_when_they_run():
    heavy = ("torch", "faiss", "transformers", "plotly", "matplotlib", "sklearn")
    code = f"import sys, hub_models.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_embedding_checkpoint(tmp_path_factory.mktemp("embedding"))


@pytest.fixture(scope="module")
def directions(embedding: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of `photos` by the probabilistic embedding."""
    folder = tmp_path_factory.mktemp("directions")
    assert invoke("index", embedding, "--images", photos, "--output", folder)["images"] == 9
    return folder


def test_a_probabilistic_embedding_predicts_concentrations(embedding, photos, calibrated):
    for item in invoke("predict", embedding, photos)["images"]:
        assert item["uncertainty"] == pytest.approx(1 / item["concentration"], rel=1e-5)
        assert item["percentile"] is None
    assert {item["concentration"] for item in invoke("predict", calibrated, photos)["images"]} == {None}


def test_a_probabilistic_embedding_abstains_by_its_gallery(embedding, directions, photos):
    answer = invoke("retrieve", embedding, "--gallery", directions, photos, "--abstain", 0.5)
    assert answer["policy"]["yardstick"] == "gallery"
    assert sum(item["abstained"] is not None for item in answer["queries"]) == 4


def test_credible_sets_are_those_of_brute_force(embedding, directions, photos):
    answer = invoke("retrieve", embedding, "--gallery", directions, photos, "--credible", 0.9)
    assert answer["credible"] == 0.9
    stream = predict(zoo.load(embedding), zoo.load_image_processor(embedding), FolderSource(photos))
    seen = [item for item in stream if hasattr(item, "embedding")]
    rows = np.stack([item.embedding for item in seen]).astype(np.float64)
    assert len(answer["queries"]) == len(seen) == 9
    for query, found in zip(seen, answer["queries"], strict=True):
        edge = cosine_quantile(torch.tensor(query.concentration, dtype=torch.float64), 8, 0.9).item()
        assert found["least_similarity"] == pytest.approx(edge, abs=1e-4)
        assert found["share_of_sphere"] == pytest.approx(cap_share(torch.tensor(edge), 8).item(), rel=1e-2)
        expected = {seen[row].name for row in np.flatnonzero(rows @ query.embedding >= edge)}
        assert {item["name"] for item in found["set"]} == expected
        assert found["set"][0]["similarity"] == pytest.approx(1, abs=1e-5)


def test_credible_sets_for_a_person_show_the_first_and_count_the_rest(embedding, directions, photos):
    query = photos / "stork" / "0000.png"
    options = ["--gallery", directions, query, "-k", 2, "--credible", 0.999]
    total = len(invoke("retrieve", embedding, *options)["queries"][0]["set"])
    out, _ = run("retrieve", embedding, *options)
    first, *lines = out.splitlines()
    assert f"0000.png: {total} of 9 images in its 0.999 credible region (similarity from " in first
    assert total > 2
    assert len(lines) == 3
    assert lines[-1] == f"    and {total - 2} more"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--credible", 95], "the credible level is 95.0"),
        (["--credible", 0], "the credible level is 0.0"),
        (["--credible", 0.9, "--abstain", 0.5], "withholds nothing"),
        (["--credible", 0.9, "--per-class"], "withholds nothing"),
    ],
)
def test_credible_refuses_bad_options(embedding, directions, photos, options, message):
    _, err = run("retrieve", embedding, "--gallery", directions, photos / "stork", *options, status=2)
    assert message in " ".join(err.replace("│", " ").split())


def test_credible_needs_a_model_with_concentrations(calibrated, gallery, photos):
    _, err = run("retrieve", calibrated, "--gallery", gallery, photos / "stork", "--credible", 0.9, status=2)
    assert "gives no concentration, so its images have no credible regions" in err
