"""The experts' numbers as arrays, in topological order: what is checked, repaired and built into a network."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np

from .experts import pooled, pooled_trust
from .records import FailureTable, Semantics


@dataclass(frozen=True, eq=False)
class Statements:
    """One number for each failure and each relation, experts combined.

    Attributes:
        names: of n failures, causes before effects, else in the order of the process.
        occurrence: shape (n,), stated P(failure), NaN where nobody states one.
        occurrence_trust: shape (n,), > 0; 0 where nothing is stated.
        cause, effect: shape (m,), int64, positions in ``names``, sorted by effect.
        trigger: shape (m,), the stated number of each relation, in the meaning ``semantics``.
        trigger_trust: shape (m,), > 0.
        semantics: see `FailureTable`.
        failure_row: shape (n,), int64, position of each failure in the table's list.
        relation_row: shape (m,), int64, position of each relation in the table's list.
    """

    names: tuple[str, ...]
    occurrence: np.ndarray
    occurrence_trust: np.ndarray
    cause: np.ndarray
    effect: np.ndarray
    trigger: np.ndarray
    trigger_trust: np.ndarray
    semantics: Semantics
    failure_row: np.ndarray
    relation_row: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """Shape (n + 1,): the relations into failure i stand at ``first[i]:first[i + 1]``."""
        return np.searchsorted(self.effect, np.arange(len(self.names) + 1))


def combine(table: FailureTable) -> Statements:
    """Combine the experts of a valid table (see `experts.pooled`) and sort causes before effects."""
    position = {failure.name: row for row, failure in enumerate(table.failures)}
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(position)))
    graph.add_edges_from((position[each.cause], position[each.effect]) for each in table.relations)
    step = {stage: number for number, stage in enumerate(table.stages)}

    def rank(row: int) -> tuple[int, str]:
        """Whatever the order of rows, the process decides, then the name."""
        return step.get(table.failures[row].stage, -1), table.failures[row].name

    failure_row = np.fromiter(nx.lexicographical_topological_sort(graph, rank), np.int64, len(position))
    place = np.empty_like(failure_row)
    place[failure_row] = np.arange(len(failure_row))

    cause = place[[position[each.cause] for each in table.relations]]
    effect = place[[position[each.effect] for each in table.relations]]
    relation_row = np.lexsort((cause, effect))
    failures = [table.failures[row] for row in failure_row]
    relations = [table.relations[row] for row in relation_row]
    return Statements(
        names=tuple(failure.name for failure in failures),
        occurrence=np.array([pooled(each.occurrence) if each.occurrence else np.nan for each in failures]),
        occurrence_trust=np.array([pooled_trust(each.occurrence) for each in failures], dtype=np.float64),
        cause=cause[relation_row],
        effect=effect[relation_row],
        trigger=np.array([pooled(each.trigger) for each in relations]),
        trigger_trust=np.array([pooled_trust(each.trigger) for each in relations]),
        semantics=table.semantics,
        failure_row=failure_row,
        relation_row=relation_row,
    )
