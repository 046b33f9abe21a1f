from __future__ import annotations

import pytest

from hub_models.errors import EvaluationError
from hub_models.evaluation.bootstrap import Interval
from hub_models.evaluation.results import Result, Run
from hub_models.publishing.readme import fill, pages, sections
from hub_models.publishing.tables_papers import papers_table
from hub_models.publishing.tables_uncertainty import DEFAULT_MODEL, models_table, read_outs_table


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_committed_page_is_what_the_result_files_give(page) -> None:
    text = page.read_text(encoding="utf-8")
    assert fill(text) == text, "run: python -m hub_models.publishing.readme"


def test_every_generated_part_is_shown_somewhere() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in pages())
    for name in sections():
        assert text.count(f"<!-- {name} -->") == 1, name


def test_a_marker_that_nothing_fills_is_refused() -> None:
    with pytest.raises(EvaluationError, match="no part 'weather' is generated"):
        fill("<!-- weather -->\nsunny\n<!-- /weather -->")


def result(model: str, task: str, metric: str, read_out: str, value: float) -> Result:
    return Run(model=model, revision="r", seed=0, command="c").result(
        task, metric, read_out, Interval(value, value - 0.01, value + 0.01, 10)
    )


def test_tables_show_value_and_interval_and_leave_gaps_empty() -> None:
    run = Run(model=DEFAULT_MODEL, revision="r", seed=0, command="c")
    figure = run.result("cifar10h@1", "spearman", "transfer", Interval(0.1234, 0.1, 0.15, 10))
    text = read_outs_table([figure], seed=0)
    assert "0.123 [0.100, 0.150]" in text
    assert len({line.count("|") for line in text.splitlines()}) == 1
    assert "0.123" not in read_outs_table([figure], seed=1)


def test_seeds_are_summarised_beside_the_released_one() -> None:
    results = [
        Run(model="m", revision="r", seed=seed, command="c").result(
            "cifar10h@1", "spearman", "transfer", Interval(value, 0.0, 1.0, 10)
        )
        for seed, value in enumerate([0.1, 0.2, 0.3])
    ]
    assert "0.100 [0.000, 1.000]; 3 seeds: 0.200 ± 0.100" in models_table({"m": results})


def test_a_paper_is_quoted_only_beside_a_figure_of_ours() -> None:
    model = "uncertainty-efficientnet-lite0"
    text = papers_table({model: [result(model, "crop-cub@1", "share", "transfer", 0.9)]})
    assert "0.900 [0.890, 0.910] | 0.875 to 0.931" in text
    assert len(text.splitlines()) == 3
