from __future__ import annotations

from dataclasses import replace

import pytest

from hub_models.failure.records import FailureTable, InvalidTableError, Place, Problem, Relation
from hub_models.failure.validation import validate

from .generated_tables import OCCURRENCE, random_table


def of_kind(table: FailureTable, kind: str) -> list[Problem]:
    return [problem for problem in validate(table) if problem.kind == kind]


def relation(table: FailureTable, cause: str, effect: str, row: int = 99) -> Relation:
    return replace(table.relations[0], cause=cause, effect=effect, place=Place("Relations", row))


def test_a_sound_table_has_no_fatal_problem() -> None:
    assert not [problem for problem in validate(random_table(40, 0)) if problem.fatal]


def test_unknown_failures_come_with_the_nearest_names() -> None:
    table = random_table(20, 0)
    added = replace(table, relations=(*table.relations, relation(table, "failure 3", "failur 17")))
    (problem,) = of_kind(added, "unknown failure")
    assert problem.place == Place("Relations", 99, "effect")
    assert "'failur 17'" in problem.found
    assert "'failure 17'" in problem.expected


def test_every_separate_cycle_is_printed() -> None:
    table = random_table(12, 0, causes=0)
    table = replace(table, relations=random_table(30, 2).relations[:1])
    pairs = [(0, 1), (1, 2), (2, 0), (4, 5), (5, 4), (7, 8), (3, 3)]
    relations = tuple(
        relation(table, f"failure {a}", f"failure {b}", row) for row, (a, b) in enumerate(pairs)
    )
    looped = replace(table, relations=relations)
    found = sorted(problem.found for problem in of_kind(looped, "cycle"))
    assert len(found) == 2
    assert "failure 0 -> failure 1 -> failure 2 -> failure 0 (rows 0, 1, 2)" in found[0]
    assert "failure 4 -> failure 5 -> failure 4" in found[1]
    (loop,) = of_kind(looped, "self-loop")
    assert "'failure 3' is its own cause" in loop.found


def test_a_cycle_of_five_thousand_failures_needs_no_recursion() -> None:
    table = random_table(5_000, 0, causes=0, experts=1)
    one = random_table(30, 2).relations[0]
    ring = tuple(
        replace(one, cause=f"failure {i}", effect=f"failure {(i + 1) % 5_000}") for i in range(5_000)
    )
    (problem,) = of_kind(replace(table, relations=ring), "cycle")
    assert "among 5000 failures" in problem.found


def test_effects_in_an_earlier_step() -> None:
    table = random_table(20, 0)
    backwards = replace(table, relations=(relation(table, "failure 19", "failure 0"),))
    (problem,) = of_kind(backwards, "stage order")
    assert problem.fatal
    assert "step 0 > step 1" in problem.expected
    guessed = validate(backwards, stages_listed=False)
    assert [each.fatal for each in guessed if each.kind == "stage order"] == [False]


def test_numbers_that_are_missing_or_extreme() -> None:
    table = random_table(20, 0)
    effect = table.relations[0].effect
    root = next(each.name for each in table.failures if each.name not in {r.effect for r in table.relations})
    bare = replace(
        table,
        failures=tuple(
            replace(each, occurrence=()) if each.name in (effect, root) else each for each in table.failures
        ),
    )
    assert {problem.fatal for problem in of_kind(bare, "no occurrence")} == {True, False}
    silent = replace(table, relations=(replace(table.relations[0], trigger=()), *table.relations[1:]))
    (problem,) = of_kind(silent, "no trigger")
    assert problem.place == table.relations[0].place
    none = replace(table, relations=tuple(replace(each, trigger=()) for each in table.relations))
    assert len(of_kind(none, "no trigger")) == 1  # not once for each
    sure = replace(
        table,
        failures=tuple(
            replace(each, occurrence=tuple(replace(o, probability=0.0, rating=1) for o in each.occurrence))
            for each in table.failures
        ),
    )
    assert len(of_kind(sure, "all zero")) == 1
    assert "rating 1 means probability 0, impossible" in of_kind(sure, "extreme")[0].found


def test_doubtful_names_and_lonely_failures_are_warnings() -> None:
    table = random_table(20, 0)
    twin = replace(table.failures[0], name="FAILURE 0", stage="")
    added = replace(table, failures=(*table.failures, twin))
    for kind in ("similar names", "isolated", "no step"):
        problems = of_kind(added, kind)
        assert problems
        assert not any(problem.fatal for problem in problems)


def test_empty_tables() -> None:
    table = random_table(3, 0, causes=0)
    assert [problem.kind for problem in validate(replace(table, failures=()))] == ["empty"]
    assert of_kind(table, "empty")


def test_the_error_shows_the_first_problems_and_counts_all() -> None:
    problems = [Problem("kind", Place("S", row), "wrong", "right") for row in range(25)]
    problems.append(Problem("kind", None, "doubtful", "else", fatal=False))
    error = InvalidTableError("file.csv", problems)
    assert len(error.problems) == 25
    assert "25 problems" in str(error)
    assert "S, row 9: wrong; expected right" in str(error)
    assert "and 15 more" in str(error)
    assert "S, row 10" not in str(error)


@pytest.mark.parametrize("rating", range(1, 11))
def test_the_nearest_rating_of_a_scale_is_its_own(rating: int) -> None:
    assert OCCURRENCE.nearest(OCCURRENCE.probability(rating)) == rating
