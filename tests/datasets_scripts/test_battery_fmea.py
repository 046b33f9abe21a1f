"""The battery FMEA, checked without the package: own reader, own scales, own combination of experts."""

from __future__ import annotations

import csv
import math
import re
from graphlib import TopologicalSorter
from itertools import combinations
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "datasets_scripts" / "battery_fmea"
OCCURRENCE = [1e-7, 1e-6, 1e-5, 1e-4, 5e-4, 2e-3, 1e-2, 2e-2, 5e-2, 1e-1]
TRIGGER = [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9]
STAGES = [
    *("mixing", "coating", "drying", "calendering", "slitting", "vacuum drying", "stacking", "tab welding"),
    *("housing", "electrolyte filling", "wetting", "formation", "degassing", "ageing", "end-of-line test"),
]
MOST_COMMON_WORDS = 0.4  # share of the words of two reasons, before they look like one template


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ratings(row: dict[str, str], kind: str) -> list[int]:
    return [int(value) for header, value in row.items() if header.startswith(f"{kind} (") and value]


def combined(values: list[int], scale: list[float]) -> float:
    logits = [math.log(scale[value - 1] / (1 - scale[value - 1])) for value in values]
    return 1 / (1 + math.exp(-sum(logits) / len(logits)))


FAILURES = {row["failure"]: row for row in rows("failures")}
RELATIONS = {(row["cause"], row["effect"]): row for row in rows("relations")}
CAUSES = {name: [c for c, e in RELATIONS if e == name] for name in FAILURES}
PLANTED = {row["effect"]: row["forced_by"] for row in rows("contradictions")}
OCCURS = {name: combined(ratings(row, "occurrence"), OCCURRENCE) for name, row in FAILURES.items()}
TRIGGERS = {pair: combined(ratings(row, "trigger"), TRIGGER) for pair, row in RELATIONS.items()}


def forced(effect: str, occurs: dict[str, float]) -> float:
    """At most what the causes alone bring about: taken as independent (Harris' inequality)."""
    return 1 - math.prod(1 - TRIGGERS[cause, effect] * occurs[cause] for cause in CAUSES[effect])


def test_it_is_as_large_as_promised_and_nothing_is_listed_twice() -> None:
    assert len(FAILURES) == len(rows("failures")) >= 150
    assert len(RELATIONS) == len(rows("relations")) >= 350
    assert {name for pair in RELATIONS for name in pair} == set(FAILURES)


def test_causes_come_before_effects_in_stage_and_there_is_no_cycle() -> None:
    assert list(dict.fromkeys(row["process_step"] for row in FAILURES.values())) == STAGES
    step = {name: STAGES.index(row["process_step"]) for name, row in FAILURES.items()}
    assert all(step[cause] <= step[effect] for cause, effect in RELATIONS)
    assert len(list(TopologicalSorter(CAUSES).static_order())) == len(FAILURES)


def test_every_basic_cause_leads_somewhere_and_every_step_has_basic_causes_and_effects() -> None:
    used = {cause for cause, _ in RELATIONS}
    assert all(name in used for name in FAILURES if not CAUSES[name])
    for stage in STAGES:
        names = [name for name, row in FAILURES.items() if row["process_step"] == stage]
        assert any(CAUSES[name] for name in names)
        assert any(not CAUSES[name] for name in names)


def test_each_reason_is_its_own() -> None:
    reasons = [row["reason"] for row in RELATIONS.values()]
    words = [set(re.findall(r"[a-z]+", reason.lower())) for reason in reasons]
    assert min(map(len, words)) >= 5
    assert len(set(reasons)) == len(reasons)
    assert len({" ".join(reason.split()[:4]) for reason in reasons}) == len(reasons)
    for a, b in combinations(words, 2):
        assert len(a & b) <= MOST_COMMON_WORDS * len(a | b), (a, b)


def test_each_number_is_a_rating_and_at_least_two_experts_rate_each_thing() -> None:
    for row in (*FAILURES.values(), *RELATIONS.values()):
        said = ratings(row, "occurrence") + ratings(row, "trigger")
        assert len(said) >= 2
        assert set(said) <= set(range(1, 11))
    for row in FAILURES.values():
        assert {int(row["severity"]), int(row["detection"])} <= set(range(1, 11))


def test_experts_disagree_for_real() -> None:
    apart = [
        max(said) - min(said) for said in (ratings(row, "trigger") for row in RELATIONS.values()) if said
    ]
    assert sum(distance > 0 for distance in apart) > len(apart) / 2
    assert sum(distance >= 2 for distance in apart) >= 30
    assert sum(len(set(ratings(row, "occurrence"))) > 1 for row in FAILURES.values()) > len(FAILURES) / 2


def test_the_planted_contradictions_are_exactly_the_inconsistent_effects() -> None:
    assert len(PLANTED) >= 10
    assert {name for name in FAILURES if CAUSES[name] and OCCURS[name] < forced(name, OCCURS)} == set(PLANTED)


def test_once_the_planted_ones_are_raised_nothing_after_them_contradicts() -> None:
    occurs = dict(OCCURS)
    for name in TopologicalSorter(CAUSES).static_order():
        if name in PLANTED:
            occurs[name] = forced(name, occurs)
        assert not CAUSES[name] or occurs[name] >= forced(name, occurs)


@pytest.mark.parametrize("effect", PLANTED)
def test_a_planted_contradiction_is_of_the_kind_it_is_said_to_be(effect: str) -> None:
    strongest = max(TRIGGERS[cause, effect] * OCCURS[cause] for cause in CAUSES[effect])
    if PLANTED[effect] == "single cause":
        assert OCCURS[effect] < 0.8 * strongest  # certain, whatever the causes have in common
    else:
        assert PLANTED[effect] == "several causes"
        assert strongest < OCCURS[effect] < 0.6 * forced(effect, OCCURS)


def test_the_library_reads_the_table_and_finds_the_same() -> None:
    from hub_models.failure.consistency import check_consistency
    from hub_models.failure.table import examine_table

    reading = examine_table(FOLDER)
    assert not reading.problems
    assert reading.table.stages == tuple(STAGES)
    assert {finding.failure for finding in check_consistency(reading.require()).findings} == set(PLANTED)


def test_the_card_gives_the_true_numbers_and_says_what_the_set_is_not() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    text = " ".join(card.split())
    disagreements = sum(len(set(ratings(row, "trigger"))) > 1 for row in RELATIONS.values())
    apart = sum(len(set(ratings(row, "occurrence"))) > 1 for row in FAILURES.values())
    basic = sum(not causes for causes in CAUSES.values())
    single = sum(kind == "single cause" for kind in PLANTED.values())
    for said in (
        f"{len(FAILURES)} failures",
        f"{len(RELATIONS)} relations",
        f"{basic} are basic causes",
        f"disagree on {disagreements} relations and {apart} failures",
        f"exactly these {len(PLANTED)} effects",
        "plausible teaching set",
        "not the data of Kirchhof",
    ):
        assert said in text, said
    assert single == 12
    assert "twelve have a cause that alone forces more" in text


def test_the_parquet_files_hold_the_sources_and_a_grown_set(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    from hub_models.datasets_builder import build_dataset

    build_dataset("battery_fmea", tmp_path, tmp_path / "built")

    def read(config: str) -> list[dict]:
        table = parquet.read_table(tmp_path / "built" / "data" / f"{config}-00000-of-00001.parquet")
        return table.to_pylist()

    assert [row["failure"] for row in read("failures")] == list(FAILURES)
    relations = read("relations")
    assert [(row["cause"], row["effect"]) for row in relations] == list(RELATIONS)
    assert [row["reason"] for row in relations] == [row["reason"] for row in RELATIONS.values()]
    assert [row["trigger (Clara)"] for row in relations] == [
        int(row["trigger (Clara)"]) if row["trigger (Clara)"] else None for row in RELATIONS.values()
    ]
    assert {row["effect"] for row in read("contradictions")} == set(PLANTED)
    grown = {row["failure"] for row in read("grown_600_failures")}
    assert len(grown) == 600
    assert grown > set(FAILURES)
    assert len(read("grown_600_relations")) == 2_100
