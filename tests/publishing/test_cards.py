"""Cards: what is committed is what recipe, results and recorded outputs give, and the examples print what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jinja2
import pytest
from huggingface_hub import ModelCard, ModelCardData

from hub_models.errors import CheckpointError
from hub_models.paths import CHECKPOINTS
from hub_models.publishing.card import FACTS
from hub_models.publishing.card_examples import python_blocks, run_block
from hub_models.publishing.card_figures import figures, figures_table, index_of_results
from hub_models.publishing.card_template import cards_folder, fill, licence_metadata, recorded_output
from hub_models.publishing.cards import card_names, card_of
from hub_models.publishing.export_pipeline import PIPELINES
from hub_models.publishing.repositories import export_repository

MODELS = [name for name in card_names() if name not in PIPELINES]


def line(task: str, metric: str, read_out: str, value: float) -> dict[str, object]:
    return {
        "task": task,
        "metric": metric,
        "read_out": read_out,
        "value": value,
        "low": value - 0.01,
        "high": value + 0.01,
        "n": 500,
        "command": "hub-models evaluate tiny",
    }


@pytest.mark.parametrize("name", card_names())
def test_a_committed_card_is_what_its_sources_give(name: str) -> None:
    committed = (cards_folder() / f"{name}.md").read_text(encoding="utf-8")
    assert committed == card_of(name), f"run: python -m hub_models.publishing.cards {name}"


def test_no_card_is_left_over() -> None:
    assert {path.stem for path in cards_folder().glob("*.md")} == set(card_names())


@pytest.mark.parametrize("name", card_names())
def test_a_card_says_what_a_hurried_reader_needs(name: str) -> None:
    text = card_of(name)
    card = ModelCard(text)
    assert card.data.license
    assert card.data.library_name in ("transformers", "diffusers")
    for heading in ("## Use", "## When not to trust it", "## Figures", "citation"):
        assert heading in text
    assert "![" in text
    assert python_blocks(text)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_example_of_a_card_prints_what_the_card_says(name: str, tmp_path: Path) -> None:
    repository = export_repository(name, tmp_path)
    (example,) = python_blocks((repository / "README.md").read_text(encoding="utf-8"))
    assert run_block(example, tmp_path) == recorded_output(name)
    assert recorded_output(name)


def test_every_family_with_a_released_model_has_facts_and_a_template() -> None:
    for task in FACTS:
        assert (cards_folder() / "templates" / f"{task}.md").is_file()
        assert figures(task)


def test_every_figure_of_a_card_is_a_line_of_its_results() -> None:
    name = "uncertainty-efficientnet-lite0"
    values = {
        f"{json.loads(row)['value']:.3f}"
        for row in (CHECKPOINTS / name / "results.jsonl").read_text(encoding="utf-8").splitlines()
    }
    rows = [row for row in card_of(name).splitlines() if row.startswith("| ") and "to" in row]
    shown = [
        cell for row in rows for cell in re.findall(r"\b0\.\d{3}\b", row.split("|")[2] + row.split("|")[5])
    ]
    assert len(shown) >= 12
    assert set(shown) <= values


def test_a_table_shows_only_what_was_measured() -> None:
    (first, *_) = figures("image-uncertainty")
    results = [
        line(first.task, first.metric, first.read_out, 0.9),
        line(first.task, first.metric, "entropy", 0.8),
    ]
    table = figures_table("image-uncertainty", results)
    assert f"| {first.words} | 0.900 | 0.890 to 0.910 | 500 | entropy 0.800 |" in table
    assert table.count("| 500 |") == 1
    assert "`hub-models evaluate tiny`" in table
    assert [entry.metric_value for entry in index_of_results("image-uncertainty", results)] == [0.9]


def test_without_results_a_card_says_so_and_has_no_index() -> None:
    assert figures_table("image-uncertainty", []) == "Not evaluated yet."
    assert index_of_results("image-uncertainty", []) == []


def test_a_fact_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        fill("pipeline", ModelCardData(), name="x")


@pytest.mark.parametrize(
    ("licence", "expected"),
    [("Apache-2.0", ("apache-2.0", None)), ("research-only", ("other", "research-only"))],
)
def test_a_licence_that_the_hub_does_not_know_is_declared_as_other(
    licence: str, expected: tuple[str, str]
) -> None:
    assert tuple(licence_metadata(licence).values()) == expected


def test_a_failing_example_is_shown_with_its_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"(?s)example fails:\n1 / 0.*ZeroDivisionError"):
        run_block("1 / 0", tmp_path)


def test_an_example_that_hangs_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"more than 0\.5 s"):
        run_block("import time; time.sleep(60)", tmp_path, seconds=0.5)
