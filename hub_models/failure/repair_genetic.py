"""Mending contradictions with ratings that an expert can sign, by a genetic algorithm.

In the spirit of Kirchhof et al. (2020), who are said to find "the consistent parameter set closest to the experts" by
a genetic algorithm; its operators are not published, these are ours. An individual holds one rating for each number
that may move, or leaves it as it was. Mutation moves a rating by one step or takes it back, crossover picks each
number from either parent, and fitness is the weighted distance of `repair`, with every violated condition counting
more than any distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import networkx as nx
import numpy as np

from .constraints import Constraint, filled
from .kept_numbers import movable
from .ratings import RATINGS, RatingScale, logit
from .records import FailureTable, Opinion
from .statements import Statements, combine

POPULATION, GENERATIONS, PATIENCE = 80, 300, 40
_KEPT = 0  # the gene that leaves a number as it is; genes 1 to 10 are ratings
_ELITE = 4
_AT_ONCE = 128  # individuals that are measured together, to bound the memory
_PENALTY = 1e6


def evolved(
    table: FailureTable,
    constraints: Sequence[Constraint],
    kept: frozenset[str] = frozenset(),
    seed: int = 0,
) -> FailureTable:
    """A `repair.Solver` that changes ratings only; groups of conditions that share no number evolve apart."""
    statements = combine(table)
    generator = np.random.default_rng(seed)
    failures, relations = list(table.failures), list(table.relations)
    for group in _groups(constraints):
        genome = _Genome(table, statements, group, kept)
        best = _evolve(genome, generator)
        for place, opinions in genome.written(best).items():
            kind, row = place
            if kind == "failure":
                failures[row] = replace(failures[row], occurrence=opinions)
            else:
                relations[row] = replace(relations[row], trigger=opinions)
    return replace(table, failures=tuple(failures), relations=tuple(relations))


@dataclass(frozen=True)
class _Number:
    """A failure's occurrence or a relation's trigger: where it stands, and who says what."""

    position: int
    place: tuple[str, int]
    opinions: tuple[Opinion, ...]
    scale: RatingScale


class _Genome:
    """The numbers of some conditions, as genes: one for each expert's number, in {0, ..., 10}."""

    def __init__(
        self,
        table: FailureTable,
        statements: Statements,
        constraints: Sequence[Constraint],
        kept: frozenset[str],
    ) -> None:
        self.statements = statements
        self.constraints = constraints
        moves, n = movable(statements, kept), len(statements.names)
        nodes = sorted({i for each in constraints for i in (each.effect, *each.causes.tolist()) if moves[i]})
        edges = sorted({edge for each in constraints for edge in each.edges.tolist() if moves[n + edge]})
        self.occurrences = len(nodes)
        self.numbers = []
        for i in nodes:
            row = int(statements.failure_row[i])
            self.numbers.append(
                _Number(i, ("failure", row), table.failures[row].occurrence, table.occurrence_scale)
            )
        for edge in edges:
            row = int(statements.relation_row[edge])
            self.numbers.append(
                _Number(edge, ("relation", row), table.relations[row].trigger, table.trigger_scale)
            )

        owned = [(k, number, each) for k, number in enumerate(self.numbers) for each in number.opinions]
        self.trust = np.array([each.trust for _, _, each in owned])
        #: Shape (genes, 11): log-odds of each gene's choices.
        self.choices = np.array(
            [
                [logit(each.probability), *(logit(number.scale.probability(r)) for r in RATINGS)]
                for _, number, each in owned
            ]
        )
        #: Shape (genes,): the rating nearest to the number as it was.
        self.original = np.array(
            [each.rating or number.scale.nearest(each.probability) for _, number, each in owned]
        )
        weights = np.zeros((len(owned), len(self.numbers)))
        weights[np.arange(len(owned)), [k for k, _, _ in owned]] = self.trust
        self._pool = weights / weights.sum(axis=0)

    def __len__(self) -> int:
        return len(self.trust)

    def cost(self, population: np.ndarray) -> np.ndarray:
        """Of individuals, shape (p, genes): their distance, plus a penalty where a condition is violated."""
        distance, violation = self.measured(population)
        return distance + np.where(violation > 0, _PENALTY * (1 + violation), 0.0)

    def measured(self, population: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance and sum of violations of individuals, shape (p, genes): two arrays of shape (p,)."""
        parts = [self._measured(population[k : k + _AT_ONCE]) for k in range(0, len(population), _AT_ONCE)]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _measured(self, population: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits = np.take_along_axis(self.choices[None], population[..., None], axis=2)[..., 0]
        distance = ((logits - self.choices[:, 0]) ** 2) @ self.trust
        pooled = 1 / (1 + np.exp(-(logits @ self._pool)))
        positions = np.array([number.position for number in self.numbers])
        split = self.occurrences
        statements = self.statements
        occurrence = np.tile(np.nan_to_num(statements.occurrence), (len(logits), 1))
        trigger = np.tile(statements.trigger, (len(logits), 1))
        occurrence[:, positions[:split]] = pooled[:, :split]
        trigger[:, positions[split:]] = pooled[:, split:]
        occurrence = filled(statements, occurrence, trigger)
        excess = np.stack([each.excess(occurrence, trigger) for each in self.constraints], axis=-1)
        return distance, np.where(excess > 1e-12, excess, 0.0).sum(axis=-1)

    def written(self, genes: np.ndarray) -> dict[tuple[str, int], tuple[Opinion, ...]]:
        """The opinions of every number of which a gene has changed, by where they stand."""
        found, first = {}, 0
        for number in self.numbers:
            own = genes[first : first + len(number.opinions)].tolist()
            first += len(own)
            if any(own):
                found[number.place] = tuple(
                    replace(each, rating=gene, probability=number.scale.probability(gene)) if gene else each
                    for each, gene in zip(number.opinions, own, strict=True)
                )
        return found


def _evolve(genome: _Genome, generator: np.random.Generator) -> np.ndarray:
    population = _first_generation(genome, generator)
    cost = genome.cost(population)
    best, waited = np.inf, 0
    for _ in range(GENERATIONS):
        order = np.argsort(cost, kind="stable")
        population, cost = population[order], cost[order]
        waited = waited + 1 if cost[0] >= best else 0
        best = cost[0]
        if waited > PATIENCE:
            break
        rivals = generator.integers(
            0, POPULATION, (2, 2, POPULATION - _ELITE)
        )  # the better of two is a parent
        mother, father = population[rivals.min(axis=1)]
        children = np.where(generator.random(mother.shape) < 0.5, mother, father)
        children = _mutated(genome, children, 1.5 / len(genome), generator)
        population = np.concatenate([population[:_ELITE], children])
        cost = genome.cost(population)
    return _polished(genome, population[np.argmin(cost)])


def _first_generation(genome: _Genome, generator: np.random.Generator) -> np.ndarray:
    """One greedy individual, and random steps that help: effects up, causes and relations down, some not at all."""
    effects = {each.effect for each in genome.constraints}
    helpful = np.concatenate(
        [
            np.full(len(number.opinions), 1 if k < genome.occurrences and number.position in effects else -1)
            for k, number in enumerate(genome.numbers)
        ]
    )
    steps = generator.integers(0, 6, (POPULATION, len(genome)))
    steps *= generator.random(steps.shape) < generator.random((POPULATION, 1))
    ratings = np.clip(genome.original + steps * helpful, RATINGS[0], RATINGS[-1])
    population = np.where(ratings == genome.original, _KEPT, ratings)
    population[0] = _greedy(genome)
    return population


def _greedy(genome: _Genome) -> np.ndarray:
    """From the numbers as they are, one step at a time, the one that mends most for what it costs."""
    genes = np.full(len(genome), _KEPT)
    distance, violation = (float(value[0]) for value in genome.measured(genes[None]))
    while violation > 0:
        candidates = _neighbours(genome, genes)
        distances, violations = genome.measured(candidates)
        gain = (violation - violations) / np.maximum(distances - distance, 1e-9)
        best = int(np.argmax(gain))
        if violations[best] >= violation:
            break  # stuck: evolution goes on from here
        genes, distance, violation = candidates[best], float(distances[best]), float(violations[best])
    return genes


def _neighbours(genome: _Genome, genes: np.ndarray) -> np.ndarray:
    """All individuals in which one gene is a rating higher or lower."""
    current = np.where(genes == _KEPT, genome.original, genes)
    candidates = np.repeat(genes[None], 2 * len(genes), axis=0)
    for half, step in enumerate((1, -1)):
        moved = np.clip(current + step, RATINGS[0], RATINGS[-1])
        rows = half * len(genes) + np.arange(len(genes))
        candidates[rows, np.arange(len(genes))] = np.where(moved == genome.original, _KEPT, moved)
    return candidates


def _mutated(
    genome: _Genome, population: np.ndarray, chance: float, generator: np.random.Generator
) -> np.ndarray:
    current = np.where(population == _KEPT, genome.original, population)
    moved = np.clip(current + generator.choice((-1, 1), population.shape), RATINGS[0], RATINGS[-1])
    moved = np.where(generator.random(population.shape) < 0.25, _KEPT, moved)
    moved = np.where(moved == genome.original, _KEPT, moved)
    return np.where(generator.random(population.shape) < chance, moved, population)


def _polished(genome: _Genome, genes: np.ndarray) -> np.ndarray:
    """Take changes back, whole or by a step, as long as that brings the individual closer."""
    best = float(genome.cost(genes[None])[0])
    while True:
        changed = np.flatnonzero(genes != _KEPT)
        candidates = np.repeat(genes[None], 2 * len(changed), axis=0)
        if not len(candidates):
            return genes
        candidates[np.arange(len(changed)), changed] = _KEPT
        nearer = genes[changed] + np.sign(genome.original[changed] - genes[changed])
        candidates[len(changed) + np.arange(len(changed)), changed] = np.where(
            nearer == genome.original[changed], _KEPT, nearer
        )
        cost = genome.cost(candidates)
        if cost.min() >= best:
            return genes
        best, genes = float(cost.min()), candidates[int(np.argmin(cost))]


def _groups(constraints: Sequence[Constraint]) -> list[list[Constraint]]:
    """Conditions that are linked by numbers they share."""
    graph: nx.Graph[tuple[str, int]] = nx.Graph()
    for k, each in enumerate(constraints):
        graph.add_edges_from((("condition", k), ("failure", i)) for i in (each.effect, *each.causes.tolist()))
    return [
        [constraints[k] for kind, k in sorted(component) if kind == "condition"]
        for component in nx.connected_components(graph)
    ]
