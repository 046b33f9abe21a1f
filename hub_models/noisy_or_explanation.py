"""The most probable explanation: one state of all failures that accounts for the evidence best. Published code.

Exact by bucket elimination with maxima (Dechter, 1999) where full tables allow it. Else the best of many weighted
samples, improved by flipping one or two failures at a time until nothing improves; this is not certified.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .noisy_or import NoisyOr
from .noisy_or_elimination import eliminate
from .noisy_or_evidence import Case, Evidence, pose
from .noisy_or_proposal import propose
from .noisy_or_sampling import BackwardSampler
from .noisy_or_tables import Factor, arranged, noisy_or_table, product

_SAMPLES, _STARTS = 4096, 8
_MOST_WIDTH, _MOST_CAUSES = 18, 15


@dataclass(frozen=True)
class Explanation:
    """The state of the evidence and everything that can cause it.

    Attributes:
        present: failures that are present, causes before effects; all others are absent.
        log_probability: log P(this state), evidence included.
        exact: certainly the best; otherwise the best that was found.
    """

    present: tuple[str, ...]
    log_probability: float
    exact: bool


def explain(network: NoisyOr, evidence: Evidence, seed: int = 0) -> Explanation:
    """The most probable state given evidence.

    Raises:
        FailureNetworkError: evidence of probability zero.
    """
    case = pose(network, evidence)
    if not case.informed:
        return Explanation((), 0.0, exact=True)
    case = case.causes_only
    state = _exact(case)
    found_exactly = state is not None
    if state is None:
        state = _search(case, seed)
    names = tuple(case.network.names[i] for i in np.flatnonzero(state))
    return Explanation(names, float(case.network.log_probability(state)), found_exactly)


def _exact(case: Case) -> np.ndarray | None:
    """(n,) bool, or None where the tables are too wide."""
    network, first = case.network, case.network.first
    if np.diff(first).max() > _MOST_CAUSES:
        return None
    scopes = [(i, *network.cause[first[i] : first[i + 1]].tolist()) for i in range(len(case))]
    plan = eliminate(scopes, len(case), _MOST_WIDTH)
    if plan is None:
        return None
    rank = np.empty(len(case), dtype=np.int64)
    rank[list(plan.order)] = np.arange(len(case))
    buckets: list[list[Factor]] = [[] for _ in plan.order]
    for i, scope in enumerate(scopes):
        on = noisy_or_table(network.leak[i], network.trigger[first[i] : first[i + 1]])
        with np.errstate(divide="ignore"):
            table = np.log(np.stack([1 - on, on]))
        if case.present[i]:
            table[0] = -np.inf
        elif case.absent[i]:
            table[1] = -np.inf
        factor = arranged(Factor(scope, table), rank)
        buckets[factor.scope[0]].append(factor)
    best: list[Factor] = []
    for bucket in buckets:
        joined = product(bucket, np.add)
        best.append(Factor(joined.scope, joined.table[1] > joined.table[0]))
        if len(joined.scope) > 1:
            buckets[joined.scope[1]].append(Factor(joined.scope[1:], joined.table.max(axis=0)))
    state = np.zeros(len(case), dtype=bool)
    for v in range(len(best) - 1, -1, -1):
        choice = best[v]
        state[v] = choice.table[tuple(int(state[u]) for u in choice.scope[1:])]
    return state[rank]


def _search(case: Case, seed: int) -> np.ndarray:
    draws = BackwardSampler(case, propose([case])).draw(_SAMPLES, np.random.default_rng(seed))
    states = np.unique(draws.states().astype(bool), axis=1).T
    order = np.argsort(-case.network.log_probability(states))[:_STARTS]
    climbed = [_climb(case, states[i]) for i in order]
    return max(climbed, key=lambda state: float(case.network.log_probability(state)))


def _climb(case: Case, state: np.ndarray) -> np.ndarray:
    """Flip the failure that helps most, or remove one and flip another, until nothing helps."""
    state = state.copy()
    while True:
        gain = _gains(case, state)
        best, flips = float(gain.max()), [int(gain.argmax())]
        for i in np.flatnonzero(state & ~case.present):
            changed = state.copy()
            changed[i] = False
            second = gain[i] + _gains(case, changed)
            second[i] = -np.inf
            if second.max() > best:
                best, flips = float(second.max()), [int(i), int(second.argmax())]
        if not best > 1e-12:
            return state
        state[flips] ^= True


def _gains(case: Case, state: np.ndarray) -> np.ndarray:
    """(n,) change of log P(state) by flipping each failure; -inf where it is known."""
    network = case.network
    log_silent = np.log1p(-np.minimum(network.trigger, 1 - 1e-16))
    off = np.log1p(-np.minimum(network.leak, 1 - 1e-16))
    off = off + np.bincount(network.effect, log_silent * state[network.cause], len(case))
    here = _log_state(off, state)
    own = _log_state(off, ~state) - here
    moved = off[network.effect] + np.where(state[network.cause], -log_silent, log_silent)
    below = _log_state(np.minimum(moved, 0.0), state[network.effect]) - here[network.effect]
    gain = own + np.bincount(network.cause, below, len(case))
    return np.where(case.possible & ~case.present, gain, -np.inf)


def _log_state(off: np.ndarray, state: np.ndarray) -> np.ndarray:
    """log P(X = state), from log P(X = 0); impossible counts as 1e-300."""
    return np.where(state, np.log(np.maximum(-np.expm1(off), math.exp(-690))), off)
