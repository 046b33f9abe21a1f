"""What a table says as a whole: names, structure and numbers that no network can hold. All problems at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from difflib import get_close_matches

import networkx as nx

from .records import Failure, FailureTable, Opinion, Place, Problem, Relation

#: Looking for near names among ten thousand takes a while, so only the first unknown ones get them.
_SUGGESTED = 30


def validate(table: FailureTable, stages_listed: bool = True) -> list[Problem]:
    """Every problem of a table that was read, fatal ones and warnings.

    Args:
        stages_listed: whether the table itself says in which order its process steps run; if not, their first
            appearance is taken for it, and an effect in an earlier step is a warning only.
    """
    if not table.failures:
        return [Problem("empty", None, "the table holds no failure", "at least one row with a failure")]
    known = {failure.name: failure for failure in table.failures}
    problems = [*_unknown_names(table, known), *_similar_names(table)]
    if not table.relations:
        problems.append(
            Problem("empty", None, "the table holds no relation", "at least one cause and its effect")
        )
    relations = [each for each in table.relations if each.cause in known and each.effect in known]
    problems += _loops(relations)
    problems += _stage_order(table, known, relations, stages_listed)
    problems += _occurrences(table, {relation.effect for relation in relations})
    problems += _triggers(table)
    problems += _isolated(table, relations)
    return problems


def _unknown_names(table: FailureTable, known: dict[str, Failure]) -> Iterator[Problem]:
    near: dict[str, list[str]] = {}
    for relation in table.relations:
        for role, name in (("cause", relation.cause), ("effect", relation.effect)):
            if name in known:
                continue
            if name not in near:
                near[name] = get_close_matches(name, known, 3, 0.5) if len(near) < _SUGGESTED else []
            expected = " or ".join(map(repr, near[name])) or "a name of the list of failures"
            place = Place(relation.place.sheet, relation.place.row, role)
            yield Problem("unknown failure", place, f"unknown failure {name!r}", expected)


def _similar_names(table: FailureTable) -> Iterator[Problem]:
    first: dict[str, Failure] = {}
    for failure in table.failures:
        other = first.setdefault(failure.name.casefold(), failure)
        if other is not failure:
            found = f"{failure.name!r} and {other.name!r} ({other.place}) differ in capitals only"
            yield Problem(
                "similar names", failure.place, found, "one spelling, if they are the same", fatal=False
            )


def _loops(relations: list[Relation]) -> Iterator[Problem]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    places = {}
    for relation in relations:
        if relation.cause == relation.effect:
            found = f"{relation.cause!r} is its own cause"
            yield Problem("self-loop", relation.place, found, "another cause or effect")
        else:
            graph.add_edge(relation.cause, relation.effect)
            places[relation.cause, relation.effect] = relation.place
    for component in nx.strongly_connected_components(graph):
        if len(component) > 1:
            cycle = nx.find_cycle(graph.subgraph(component), min(component))
            shown = " -> ".join([*(edge[0] for edge in cycle), cycle[0][0]])
            rows = ", ".join(str(places[edge[0], edge[1]].row) for edge in cycle)
            where = places[cycle[0][0], cycle[0][1]]
            found = f"a cycle, {shown} (rows {rows}), among {len(component)} failures"
            yield Problem("cycle", where, found, "causes before effects: take one of these relations out")


def _stage_order(
    table: FailureTable, known: dict[str, Failure], relations: list[Relation], listed: bool
) -> Iterator[Problem]:
    order = {stage: number for number, stage in enumerate(table.stages)}
    for relation in relations:
        before, after = known[relation.cause].stage, known[relation.effect].stage
        if before and after and order[before] > order[after]:
            found = (
                f"{relation.cause!r} of {before!r} causes {relation.effect!r} of {after!r}, an earlier step"
            )
            expected = "an effect in the same or a later step; the order is " + " > ".join(table.stages)
            if not listed:
                expected += " by first appearance: list the stages in the settings if it is not"
            yield Problem("stage order", relation.place, found, expected, fatal=listed)
    unplaced = [failure for failure in table.failures if not failure.stage]
    if table.stages and unplaced:
        found = f"{len(unplaced):,} failure(s) without a process step, the first being {unplaced[0].name!r}"
        yield Problem("no step", unplaced[0].place, found, "a process step", fatal=False)


def _occurrences(table: FailureTable, effects: set[str]) -> Iterator[Problem]:
    rated = [failure for failure in table.failures if failure.occurrence]
    if rated and not any(_possible(failure.occurrence) for failure in rated):
        found = "every occurrence is 0: nothing can ever fail"
        yield Problem("all zero", rated[0].place, found, "occurrences above 0, or a scale that gives them")
    for failure in table.failures:
        name = failure.name
        if failure.occurrence:
            yield from _extremes(failure.occurrence, f"occurrence of {name!r}", "impossible", "certain")
        elif name in effects:
            found = f"{name!r} has no occurrence: it is taken to arise from its causes alone"
            yield Problem("no occurrence", failure.place, found, "a rating from 1 to 10", fatal=False)
        else:
            found = f"{name!r} has neither an occurrence nor a cause"
            yield Problem(
                "no occurrence", failure.place, found, "a rating from 1 to 10, or a relation to a cause"
            )


def _triggers(table: FailureTable) -> Iterator[Problem]:
    bare = [relation for relation in table.relations if not relation.trigger]
    expected = "in the column trigger a rating from 1 to 10 by at least one expert"
    if bare and len(bare) == len(table.relations):
        yield Problem("no trigger", bare[0].place, "no relation has a number", expected)
        return
    for relation in table.relations:
        what = f"{relation.cause!r} -> {relation.effect!r}"
        if relation.trigger:
            yield from _extremes(relation.trigger, what, "without any influence", "never failing to trigger")
        else:
            yield Problem("no trigger", relation.place, f"{what} has no number", expected)


def _extremes(opinions: tuple[Opinion, ...], what: str, zero: str, one: str) -> Iterator[Problem]:
    for opinion in opinions:
        if opinion.probability in (0, 1):
            meaning = one if opinion.probability else zero
            given = f"rating {opinion.rating}" if opinion.rating else "the number"
            found = f"{what}: {given} means probability {opinion.probability:g}, {meaning}"
            yield Problem(
                "extreme", opinion.place, found, "this, only if no observation can contradict it", False
            )


def _possible(opinions: tuple[Opinion, ...]) -> bool:
    return any(opinion.probability > 0 for opinion in opinions)


def _isolated(table: FailureTable, relations: list[Relation]) -> Iterator[Problem]:
    degree: defaultdict[str, int] = defaultdict(int)
    for relation in relations:
        degree[relation.cause] += 1
        degree[relation.effect] += 1
    for failure in table.failures:
        if relations and not degree[failure.name]:
            found = f"{failure.name!r} has neither causes nor effects"
            yield Problem("isolated", failure.place, found, "a relation", fatal=False)
