"""The backward sampler of `noisy_or_sampling`, compiled by numba where that is installed. Published code.

The same proposal and the same weights, one sample after another, and only failures that are present or touched by a
present cause cost anything: failures that arise from their leak alone are found by one exponential clock that runs
over all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .noisy_or_backward import DEFENSIVE
from .noisy_or_evidence import Case
from .noisy_or_moments import Moments
from .noisy_or_proposal import Proposal

try:
    import numba
except ImportError:
    numba = None

_PRESENT, _ABSENT = 1, 2


def is_available() -> bool:
    """Whether numba is installed."""
    return numba is not None


class CompiledSampler:
    """The same estimates as `BackwardSampler`, from other random numbers."""

    def __init__(self, case: Case, proposal: Proposal) -> None:
        self._arrays = _layout(case, proposal)

    def moments(self, count: int, seed: int, log_shift: float) -> Moments:
        """Sums over ``count`` samples. Runs without Python's lock, so that threads may share a sampler."""
        log_weight, present, square = _kernel()(count, seed, log_shift, DEFENSIVE, *self._arrays)
        return Moments.of_sums(log_weight, log_shift, present, square)


def _layout(case: Case, proposal: Proposal) -> tuple[Any, ...]:
    """Edges by effect (backwards) and by cause (forwards), and what holds before anything is present."""
    network, n = case.network, len(case)
    usable = case.possible[network.cause] & (network.trigger > 0) & (network.effect < case.informed)
    by_effect = np.flatnonzero(usable)
    forward = np.flatnonzero(case.possible[network.cause] & (network.trigger > 0))
    by_cause = forward[np.argsort(network.cause[forward], kind="stable")]
    tilt = np.zeros(n)
    tilt[: case.informed] = proposal.tilt[0]
    kind = np.where(case.present, _PRESENT, np.where(case.absent, _ABSENT, 0)).astype(np.uint8)
    free = case.possible & (kind == 0)
    raised = network.leak * np.exp(tilt)
    total = np.where(free, raised + (1 - network.leak), 1.0)
    base = np.where(kind == _ABSENT, np.log1p(-np.where(kind == _ABSENT, network.leak, 0.0)), np.log(total))
    hazard = np.where(free, -np.log1p(-np.minimum(raised / total, 1 - 1e-16)), 0.0)
    return (
        case.informed,
        np.searchsorted(network.effect[by_effect], np.arange(n + 1)),
        network.cause[by_effect],
        network.trigger[by_effect],
        np.searchsorted(network.cause[by_cause], np.arange(n + 1)),
        network.effect[by_cause],
        network.trigger[by_cause],
        network.leak,
        kind,
        tilt,
        base,
        float(base.sum()),
        hazard.cumsum(),
        proposal.marginal,
        proposal.excess,
    )


def _run(
    count: int,
    seed: int,
    log_shift: float,
    defensive: float,
    informed: int,
    first_cause: np.ndarray,
    cause: np.ndarray,
    cause_trigger: np.ndarray,
    first_effect: np.ndarray,
    effect: np.ndarray,
    effect_trigger: np.ndarray,
    leak: np.ndarray,
    kind: np.ndarray,
    tilt: np.ndarray,
    base: np.ndarray,
    base_sum: float,
    hazard: np.ndarray,
    marginal: np.ndarray,
    excess: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-weights (count,), and (n,) sums of shifted weights and their squares where a failure is present."""
    np.random.seed(seed)
    n = len(leak)
    log_weights = np.empty(count)
    present, present_square = np.zeros(n), np.zeros(n)
    strength = np.zeros(n)  # v of the chosen cause; above 0 where a failure must be present
    silent, claims = 1 - leak, leak.copy()  # P(no cause so far), and the sum that k(c | x) divides by
    touched = np.zeros(n, dtype=np.uint8)
    waiting = np.empty(n, dtype=np.int64)
    explained = np.empty(n, dtype=np.int64)
    on = np.empty(n, dtype=np.int64)
    most = 1
    for i in range(informed):
        most = max(most, first_cause[i + 1] - first_cause[i] + 1)
    score = np.empty(most)
    for sample in range(count):
        log_weight = base_sum
        # Backwards: explain what must be present, the last failure first.
        size = done = 0
        for i in range(informed):
            if kind[i] == 1:
                waiting[size] = i
                size += 1
        while size:
            at = 0
            for j in range(1, size):
                if waiting[j] > waiting[at]:
                    at = j
            i = waiting[at]
            size -= 1
            waiting[at] = waiting[size]
            start, options = first_cause[i], first_cause[i + 1] - first_cause[i]
            total = 0.0
            for j in range(options):
                m = cause[start + j]
                together = marginal[m]
                for r in range(size):
                    together += excess[m, waiting[r]]
                score[j] = cause_trigger[start + j] * min(1.0, together)
                total += score[j]
            choice = options
            if options and leak[i] > 0:
                score[options] = leak[i]
                total += leak[i]
                options += 1
            if options > 1:
                total = max(total, 1e-300)
                uniform = np.random.random()
                for j in range(options):
                    score[j] = (1 - defensive) * score[j] / total + defensive / options
                    uniform -= score[j]
                    choice = j
                    if uniform < 0:
                        break
                log_weight -= np.log(score[choice])
            elif options == 1:
                choice = 0
            if choice == first_cause[i + 1] - start:
                strength[i] = leak[i]
            else:
                strength[i] = cause_trigger[start + choice]
                m = cause[start + choice]
                known = False
                for j in range(size):
                    known = known or waiting[j] == m
                if not known:
                    waiting[size] = m
                    size += 1
            touched[i] = 1
            explained[done] = i
            done += 1
        # Forwards: the failures whose leak fires, then everything in order.
        clock = -np.log(1 - np.random.random())
        while clock < hazard[n - 1]:
            i = np.searchsorted(hazard, clock, side="right")
            touched[i] |= 2
            clock = hazard[i] - np.log(1 - np.random.random())
        size = 0
        for i in range(n):
            if not touched[i]:
                continue
            is_on = False
            if strength[i] > 0:
                is_on = True
                log_weight += np.log((1 - silent[i]) * strength[i] / claims[i]) - base[i]
            elif kind[i] == 2:
                log_weight += np.log(silent[i]) - base[i] if silent[i] > 0 else -np.inf
            elif not touched[i] & 4:
                is_on = True  # by its leak, as the clock drew it
                log_weight -= tilt[i]
            elif tilt[i] == 0:
                is_on = np.random.random() >= silent[i]
            else:
                raised = (1 - silent[i]) * np.exp(tilt[i])
                is_on = np.random.random() * (raised + silent[i]) < raised
                log_weight += np.log(raised + silent[i]) - base[i] - tilt[i] * is_on
            silent[i], claims[i], touched[i], strength[i] = 1 - leak[i], leak[i], 0, 0.0
            if is_on:
                on[size] = i
                size += 1
                for j in range(first_effect[i], first_effect[i + 1]):
                    e = effect[j]
                    silent[e] *= 1 - effect_trigger[j]
                    claims[e] += effect_trigger[j]
                    touched[e] |= 4
        log_weights[sample] = log_weight
        weight = np.exp(log_weight - log_shift)
        for j in range(size):
            present[on[j]] += weight
            present_square[on[j]] += weight * weight
    return log_weights, present, present_square


@cache
def _kernel() -> Callable[..., Any]:
    """`_run`, compiled on first use and kept on disk where that is allowed."""
    try:
        return numba.njit(nogil=True, cache=True)(_run)
    except RuntimeError:  # no folder to keep it in
        return numba.njit(nogil=True)(_run)
