"""Failure networks of any size, grown from a real one: for tests of scale, never for conclusions.

A grown network holds the real one unchanged. What is added is named after its stage ("coating: derived failure 12"),
can be caused by real failures but causes none of them, and copies their statistics: shares of the stages and of basic
causes, how many stages a relation spans, trigger probabilities, leaks. All draws come from one seed.
"""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np

from ..errors import FailureNetworkError
from ..noisy_or import NoisyOr

#: An added basic cause gets its first effect among this many effects after it.
_NEAR = 40
#: Rounds of drawing again what was drawn twice: with the span of the relation, then with any, then for any effect.
_SAME_SPAN, _SAME_EFFECT, _MOST_ROUNDS = 20, 40, 200


def grow(network: NoisyOr, failures: int = 600, relations: int = 2_100, seed: int = 0) -> NoisyOr:
    """Add derived failures to a network until it has ``failures`` and ``relations``.

    Where an added effect gets more causes than an effect of ``network``, its triggers are weakened in proportion, so
    that failures stay as rare as they are there.

    Raises:
        FailureNetworkError: the network has no stages, no relations, or is as large already; or the relations are
            too few for each added failure to have one, or too many to be all different.
    """
    added, edges = failures - len(network), relations - len(network.cause)
    if not network.stages or not len(network.cause) or added < 1:
        raise FailureNetworkError(
            f"cannot grow a network of {len(network)} failures to {failures}; start from a smaller one that has "
            "stages and relations"
        )
    generator = np.random.default_rng(seed)
    plan = _Plan(network, added, generator)
    cause, effect = plan.relations(edges, generator)
    weaker = min(1.0, _causes_per_effect(network.effect) / _causes_per_effect(effect))
    return NoisyOr(
        names=(*network.names, *plan.names),
        cause=np.concatenate([network.cause, cause]),
        effect=np.concatenate([network.effect, effect]),
        trigger=np.concatenate([network.trigger, weaker * generator.choice(network.trigger, edges)]),
        leak=np.concatenate([network.leak, plan.leak(network, generator)]),
        stages=(*network.stages, *plan.stages),
    )


def stages_in_order(network: NoisyOr) -> tuple[str, ...]:
    """Each stage before those that its failures act on; free ones as they first appear.

    Raises:
        FailureNetworkError: there is no such order.
    """
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(network.stages)
    graph.add_edges_from(
        (network.stage(c), network.stage(e))
        for c, e in zip(network.cause.tolist(), network.effect.tolist(), strict=True)
        if network.stage(c) != network.stage(e)
    )
    first = {stage: i for i, stage in enumerate(dict.fromkeys(network.stages))}
    try:
        return tuple(nx.lexicographical_topological_sort(graph, key=first.__getitem__))
    except nx.NetworkXUnfeasible:
        raise FailureNetworkError(
            "the stages of the network cause each other in a circle; name them so that causes come first"
        ) from None


class _Plan:
    """Where the added failures stand in the process.

    All failures, real and added, stand in one line, by stage, causes before effects; a relation only ever leads
    onwards, so there is no cycle. ``line`` holds their positions in the grown network.
    """

    def __init__(self, network: NoisyOr, added: int, generator: np.random.Generator) -> None:
        self.known = len(network)
        self.order = stages_in_order(network)
        number = {stage: i for i, stage in enumerate(self.order)}
        old_stage = np.array([number[stage] for stage in network.stages])
        new_stage = np.sort(generator.choice(old_stage, added))
        self.stages = tuple(self.order[i] for i in new_stage)
        self.names = _names(self.stages, set(network.names))
        self.is_root = generator.random(added) < network.is_root.mean()
        self.is_root[-1] = False  # so that there is an effect after every cause

        rank = np.empty(len(network))
        rank[network.order] = np.arange(len(network)) / len(network)
        rank[network.is_root] = 0.0
        within = np.concatenate([rank, np.where(self.is_root, 0.0, generator.random(added))])
        within[-1] = 1.0
        self.stage = np.concatenate([old_stage, new_stage])
        self.line = np.lexsort((within, self.stage))
        self.place = np.argsort(self.line)
        self.effects = self.known + np.flatnonzero(~self.is_root)
        self.spans = old_stage[network.effect] - old_stage[network.cause]
        self.degrees = np.bincount(network.effect, minlength=len(network))[~network.is_root]

    def relations(self, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """``count`` different relations into added failures: (cause, effect) positions, each (count,)."""
        first_cause = self.known + np.flatnonzero(self.is_root)
        effects = self.effects[np.argsort(self.place[self.effects])]
        next_effect = np.searchsorted(self.place[effects], self.place[first_cause])
        ahead = np.minimum(len(effects) - next_effect, _NEAR)
        first_effect = effects[next_effect + (generator.random(len(ahead)) * ahead).astype(np.int64)]

        needed = ~np.isin(effects, first_effect)
        rest = count - len(first_cause) - int(needed.sum())
        if rest < 0:
            raise FailureNetworkError(
                f"{count} relations are too few for {len(self.names)} added failures; ask for {-rest} more"
            )
        wanted = needed + self._further_causes(len(effects), rest, generator)
        pairs = self._draw(first_cause, first_effect, np.repeat(effects, wanted), generator)
        return pairs % len(self.line), pairs // len(self.line)

    def _further_causes(self, effects: int, count: int, generator: np.random.Generator) -> np.ndarray:
        """``count`` shared out as the real effects have theirs; what is left over goes to all alike."""
        further = generator.choice(self.degrees, effects) - 1
        if further.sum() > count:
            return generator.multinomial(count, further / further.sum())
        return further + generator.multinomial(count - further.sum(), np.full(effects, 1 / effects))

    def _draw(
        self, cause: np.ndarray, effect: np.ndarray, open_effects: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """Find causes for ``open_effects`` (with repeats); returns effect * n + cause, all different."""
        size = len(self.line)
        pairs = effect * size + cause
        starts = np.searchsorted(self.stage[self.line], np.arange(len(self.order) + 1))
        for attempt in range(_MOST_ROUNDS):
            if not len(open_effects):
                return np.sort(pairs)
            if attempt >= _SAME_EFFECT:
                open_effects = generator.choice(self.effects, len(open_effects))
            end = self.place[open_effects]
            begin = np.zeros_like(end)
            if attempt < _SAME_SPAN:
                stage = self.stage[open_effects] - generator.choice(self.spans, len(end))
                begin = starts[np.maximum(stage, 0)]
                end = np.minimum(end, starts[np.maximum(stage, 0) + 1])
            drawn = begin + (generator.random(len(end)) * (end - begin)).astype(np.int64)
            new = open_effects * size + self.line[np.minimum(drawn, size - 1)]
            good = np.zeros(len(new), dtype=bool)
            good[np.unique(new, return_index=True)[1]] = True
            good &= (end > begin) & ~np.isin(new, pairs)
            pairs = np.concatenate([pairs, new[good]])
            open_effects = open_effects[~good]
        raise FailureNetworkError(
            f"{len(open_effects)} relations found no cause that is not taken; ask for fewer relations or more failures"
        )

    def leak(self, network: NoisyOr, generator: np.random.Generator) -> np.ndarray:
        """Drawn from the leaks of the real basic causes and of the real effects."""
        leak = generator.choice(network.leak[~network.is_root], len(self.is_root))
        leak[self.is_root] = generator.choice(network.leak[network.is_root], int(self.is_root.sum()))
        return leak


def _names(stages: tuple[str, ...], taken: set[str]) -> tuple[str, ...]:
    """A number for each failure of a stage, going on where an earlier growth ended."""
    numbers = {stage: itertools.count(1) for stage in stages}
    names = []
    for stage in stages:
        candidates = (f"{stage}: derived failure {number}" for number in numbers[stage])
        names.append(next(name for name in candidates if name not in taken))
    return tuple(names)


def _causes_per_effect(effect: np.ndarray) -> float:
    return len(effect) / max(len(np.unique(effect)), 1)
