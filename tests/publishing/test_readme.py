from __future__ import annotations

from hub_models.evaluation.bootstrap import Interval
from hub_models.evaluation.results import Run
from hub_models.publishing.readme import DEFAULT_MODEL, README, fill, models_table, read_outs_table, sections


def test_the_committed_readme_is_what_the_result_files_give() -> None:
    text = README.read_text(encoding="utf-8")
    assert fill(text) == text
    for name in sections():
        assert f"<!-- {name} -->" in text


def test_tables_show_value_and_interval_and_leave_gaps_empty() -> None:
    run = Run(model=DEFAULT_MODEL, revision="r", seed=0, command="c")
    result = run.result("cifar10h@1", "spearman", "transfer", Interval(0.1234, 0.1, 0.15, 10))
    table = read_outs_table([result], seed=0)
    assert "0.123 [0.100, 0.150]" in table
    assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "0.123" not in read_outs_table([result], seed=1)


def test_seeds_are_summarised_beside_the_released_one() -> None:
    results = [
        Run(model="m", revision="r", seed=seed, command="c").result(
            "cifar10h@1", "spearman", "transfer", Interval(value, 0.0, 1.0, 10)
        )
        for seed, value in enumerate([0.1, 0.2, 0.3])
    ]
    assert "0.100 [0.000, 1.000]; 3 seeds: 0.200 ± 0.100" in models_table({"m": results})
