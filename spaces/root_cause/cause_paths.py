"""Which cause triggered which effect, and the paths along which root causes reach what was observed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np

from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_evidence import Evidence, pose
from hub_models.noisy_or_proposal import propose
from hub_models.noisy_or_sampling import BackwardSampler

MOST_FAILURES = 20  # in one drawing
_FAINT = 0.1  # a path this much weaker than the cause's strongest is left out


@dataclass(frozen=True)
class Link:
    """One relation given the evidence.

    Attributes:
        cause, effect: names.
        probability: that the cause was present and triggered the effect; several causes of one effect can.
        share: of the cases in which the effect is present.
    """

    cause: str
    effect: str
    probability: float
    share: float


@dataclass(frozen=True)
class Links:
    """Every relation that bears on the evidence, and how probably each effect arose of a cause that nobody named."""

    links: tuple[Link, ...]
    unnamed: dict[str, float]


def find_links(network: NoisyOr, evidence: Evidence, samples: int = 4096, seed: int = 0) -> Links:
    """Weigh the relations by samples of all states that explain the evidence.

    In a state in which an effect is present, a present cause triggered it with the chance
    trigger / (1 - (1 - leak) * product over present causes of (1 - trigger)); the same holds for the leak.

    Raises:
        FailureNetworkError: evidence of probability zero.
    """
    case = pose(network, evidence)
    if not case.informed:
        return Links((), {})
    case = case.causes_only
    known = case.network
    draws = BackwardSampler(case, propose([case])).draw(samples, np.random.default_rng(seed))
    weight = np.exp(draws.log_weight - draws.log_weight.max())
    states = draws.states()
    on = -np.expm1(known.log_off(states.T.astype(bool)).T)
    explained = states * (weight / weight.sum()) / np.maximum(on, 1e-300)  # (n, S)
    present = states @ (weight / weight.sum())
    probability = known.trigger * np.einsum("es,es->e", states[known.cause], explained[known.effect])
    share = probability / np.maximum(present[known.effect], 1e-300)
    links = tuple(
        Link(known.names[c], known.names[e], float(p), float(s))
        for c, e, p, s in zip(known.cause, known.effect, probability, share, strict=True)
    )
    unnamed = known.leak * explained.sum(axis=1)
    named = np.flatnonzero(~known.is_root)
    return Links(links, {known.names[i]: float(unnamed[i]) for i in named})


def strongest_paths(links: Sequence[Link], roots: Sequence[str], observed: Iterable[str]) -> list[list[Link]]:
    """For each root cause the most likely ways to the observed failures, the strongest first.

    The strength of a path is the product of its shares. Every observed failure that any cause explains is reached,
    by the strongest of all its causes if need be; as many paths are given as a drawing can hold.
    """
    by_ends = {(link.cause, link.effect): link for link in links}
    backwards: nx.DiGraph[str] = nx.DiGraph()
    for link in links:
        if link.share > 0:
            backwards.add_edge(link.effect, link.cause, cost=-math.log(min(link.share, 1.0)))
    needed: list[tuple[float, list[Link]]] = []
    wanted: dict[str, list[tuple[float, list[Link]]]] = {root: [] for root in roots}
    for failure in observed:
        if failure not in backwards:
            continue
        costs, ways = nx.single_source_dijkstra(backwards, failure, weight="cost")
        found = {
            start: (cost, [by_ends[cause, effect] for effect, cause in pairwise(way)][::-1])
            for start, cost in costs.items()
            if len(way := ways[start]) > 1
        }
        best = [found[root] for root in roots if root in found] or list(found.values())
        if best:
            needed.append(min(best, key=lambda each: each[0]))
        for root in roots:
            if root in found:
                wanted[root].append(found[root])
    paths = sorted(needed, key=lambda each: each[0])
    rest = [
        each
        for ways in wanted.values()
        for each in ways
        if each not in paths and each[0] <= min(cost for cost, _ in ways) - math.log(_FAINT)
    ]
    return _that_fit([path for _, path in [*paths, *sorted(rest, key=lambda each: each[0])]])


def _that_fit(paths: list[list[Link]]) -> list[list[Link]]:
    names: set[str] = set()
    chosen = []
    for path in paths:
        more = names | {name for link in path for name in (link.cause, link.effect)}
        if len(more) <= MOST_FAILURES or not chosen:
            chosen.append(path)
            names = more
    return chosen
