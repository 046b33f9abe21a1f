"""A second sampler, to check the first by something that shares none of its code: forward importance sampling.

Every failure is drawn in topological order with its odds tilted by what loopy belief propagation, run with all the
evidence, says about its effects (EPIS: Yuan and Druzdzel, 2003). Where priors are rare, propagation is too sure of
itself and the weights degenerate; so the draws may come from a network with raised priors and leaks, under which it
is not, by tilts that lean on it less. The weights are those of the network itself. Which of these proposals serves
best is measured on samples that are then thrown away.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numba
import numpy as np

from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_evidence import Evidence

#: Factors on priors and leaks, and on tilts, to try.
RAISED, LEANS = (1.0, 3.0, 10.0, 30.0, 100.0), (1.0, 0.7)
_HIGHEST_PRIOR, _SWEEPS, _PILOT, _BATCH = 0.3, 30, 20_000, 1 << 16


@dataclass(frozen=True, eq=False)
class SecondOpinion:
    """``probability`` (n,), NaN for effects that cannot have caused the evidence; the largest standard error."""

    probability: np.ndarray
    standard_error: float
    log10_evidence: float
    samples: int
    effective: float


def second_opinion(
    network: NoisyOr, evidence: Evidence, standard_error: float, seconds: float
) -> SecondOpinion:
    """Sample until every standard error is at most ``standard_error`` or so many seconds of one core are over."""
    start = time.process_time()
    kept = network.ancestors(np.concatenate([evidence.present, evidence.absent]))
    part = network.restricted(kept)
    state = np.full(len(part), -1)
    state[np.isin(kept, evidence.present)] = 1
    state[np.isin(kept, evidence.absent)] = 0
    pilots = []
    for raised in RAISED:
        for lean in LEANS:
            proposal = _proposal(part, state, raised, lean)
            log_weight = _draw(_PILOT, 1, 0.0, *proposal)[0]
            pilots.append((_effective(log_weight), log_weight.max(), proposal))
    _, shift, proposal = max(pilots, key=lambda pilot: pilot[0])
    count, total, square, error = 0, 0.0, 0.0, np.inf
    present, present_square = np.zeros(len(part)), np.zeros(len(part))
    while error > standard_error and (not count or time.process_time() - start < seconds):
        log_weight, more, more_square = _draw(_BATCH, 20_011 + count, shift, *proposal)
        weight = np.exp(log_weight - shift)
        count, total, square = count + _BATCH, total + weight.sum(), square + weight @ weight
        present, present_square = present + more, present_square + more_square
        p = present / total
        variance = present_square * (1 - 2 * p) + p**2 * square
        error = float(np.sqrt(np.maximum(variance, 0)).max() / total)
    probability = np.where(network.is_root, network.leak, np.nan)
    probability[kept] = present / total
    log10 = float((np.log(total / count) + shift) / np.log(10))
    return SecondOpinion(probability, error, log10, count, float(total**2 / square))


def _effective(log_weight: np.ndarray) -> float:
    weight = np.exp(log_weight - log_weight.max())
    return float(weight.sum() ** 2 / (weight @ weight))


def _proposal(network: NoisyOr, state: np.ndarray, raised: float, lean: float) -> tuple[np.ndarray, ...]:
    """What `_draw` takes: the network by cause, and what each failure does as long as no cause of it is present."""
    leak = np.clip(network.leak * raised, network.leak, np.maximum(network.leak, _HIGHEST_PRIOR))
    ratio = np.exp(lean * _belief_propagation(replace(network, leak=leak), state))
    by_cause = np.argsort(network.cause, kind="stable")
    total = leak * ratio + 1 - leak
    still = np.log1p(-network.leak) + np.where(state < 0, np.log(total) - np.log1p(-leak), 0.0)
    alone = np.where(state < 0, leak * ratio / total, 0.0)
    return (
        network.leak,
        leak,
        state,
        ratio,
        np.searchsorted(network.cause[by_cause], np.arange(len(network) + 1)),
        network.effect[by_cause],
        network.trigger[by_cause],
        np.where(state == 1, 0.0, still),
        -np.log1p(-alone).cumsum(),
    )


def _belief_propagation(network: NoisyOr, state: np.ndarray) -> np.ndarray:
    """(n,) log-ratios of the messages from below."""
    cause, effect, q, n = network.cause, network.effect, network.trigger, len(network)
    upward, belief = np.zeros(len(cause)), network.leak[cause].copy()
    for _ in range(_SWEEPS):
        silent = np.log1p(-np.minimum(q * belief, 1 - 1e-15))
        off = np.log1p(-np.minimum(network.leak, 1 - 1e-15)) + np.bincount(effect, silent, n)
        tilt = np.clip(np.bincount(cause, upward, n), -30, 30)
        others_off = np.exp(off[effect] - silent)
        low, high = (1 - q) * others_off, others_off  # P(effect absent) with and without this cause
        ratio = np.exp(tilt)[effect]
        with_cause = np.select(
            [state[effect] == 1, state[effect] == 0], [1 - low, low], low + ratio * (1 - low)
        )
        without = np.select(
            [state[effect] == 1, state[effect] == 0], [1 - high, high], high + ratio * (1 - high)
        )
        new = np.log(np.maximum(with_cause, 1e-12)) - np.log(np.maximum(without, 1e-12))
        upward = 0.5 * upward + 0.5 * new
        odds = -np.expm1(off)[cause] * np.exp(np.clip(tilt[cause] - upward, -30, 30))
        belief = np.select(
            [state[cause] == 1, state[cause] == 0], [1.0, 0.0], odds / (odds + np.exp(off)[cause])
        )
    return np.where(state < 0, np.clip(np.bincount(cause, upward, n), -30, 30), 0.0)


@numba.njit
def _draw(
    count: int,
    seed: int,
    shift: float,
    leak: np.ndarray,
    raised_leak: np.ndarray,
    state: np.ndarray,
    ratio: np.ndarray,
    first: np.ndarray,
    effect: np.ndarray,
    trigger: np.ndarray,
    still: np.ndarray,
    hazard: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-weights (count,), and (n,) sums of shifted weights and their squares where a failure is present.

    Failures that start by themselves come from one clock over all of them, so that nothing else costs anything but
    what a present cause touches.
    """
    np.random.seed(seed)
    n, quiet = len(leak), still.sum()
    log_weights = np.empty(count)
    present, present_square = np.zeros(n), np.zeros(n)
    off, raised_off = 1 - leak, 1 - raised_leak  # P(absent) so far, in the network and where it is drawn from
    starts, touched = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    on = np.empty(n, dtype=np.int64)
    for sample in range(count):
        log_weight, size = quiet, 0
        clock = -np.log(1 - np.random.random())
        while clock < hazard[-1]:
            i = np.searchsorted(hazard, clock, side="right")
            starts[i] = True
            clock = hazard[i] - np.log(1 - np.random.random())
        for i in range(n):
            if not (starts[i] or touched[i] or state[i] == 1):
                continue
            log_weight -= still[i]
            is_on = state[i] == 1
            if state[i] < 0:
                high = (1 - raised_off[i]) * ratio[i]
                chance = high / (high + raised_off[i])
                is_on = np.random.random() < chance if touched[i] else True
                log_weight -= np.log(chance if is_on else 1 - chance)
            log_weight += np.log(1 - off[i] if is_on else off[i])
            off[i], raised_off[i] = 1 - leak[i], 1 - raised_leak[i]
            starts[i] = touched[i] = False
            if is_on:
                on[size] = i
                size += 1
                for j in range(first[i], first[i + 1]):
                    off[effect[j]] *= 1 - trigger[j]
                    raised_off[effect[j]] *= 1 - trigger[j]
                    touched[effect[j]] = True
        log_weights[sample] = log_weight
        weight = np.exp(log_weight - shift)
        for j in range(size):
            present[on[j]] += weight
            present_square[on[j]] += weight * weight
    return log_weights, present, present_square
