"""A second sampler, to check the first by something that shares none of its code: forward importance sampling.

Every failure is drawn in topological order with its odds tilted by what loopy belief propagation, run with all the
evidence, says about its effects (EPIS: Yuan and Druzdzel, 2003). Good where priors are not too rare; slow.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_evidence import Evidence

_SWEEPS, _BATCH = 30, 4096


@dataclass(frozen=True, eq=False)
class SecondOpinion:
    """``probability`` (n,), NaN for failures that cannot have caused the evidence; the largest standard error."""

    probability: np.ndarray
    standard_error: float
    samples: int
    effective: float


def second_opinion(
    network: NoisyOr, evidence: Evidence, standard_error: float, seconds: float
) -> SecondOpinion:
    """Sample until every standard error is at most ``standard_error`` or the time is over."""
    kept = network.ancestors(np.concatenate([evidence.present, evidence.absent]))
    part = network.restricted(kept)
    state = np.full(len(part), -1)
    state[np.isin(kept, evidence.present)] = 1
    state[np.isin(kept, evidence.absent)] = 0
    tilt = _belief_propagation(part, state)
    generator = np.random.default_rng(20_011)
    total = square = samples = 0.0
    present, present_square = np.zeros(len(part)), np.zeros(len(part))
    shift, start = None, time.perf_counter()
    while True:
        states, log_weight = _draw(part, state, tilt, generator)
        shift = log_weight.max() if shift is None else shift
        weight = np.exp(log_weight - shift)
        total, square, samples = total + weight.sum(), square + (weight**2).sum(), samples + _BATCH
        present += states @ weight
        present_square += states @ weight**2
        p = present / total
        error = float(np.sqrt(np.maximum(present_square * (1 - 2 * p) + p**2 * square, 0)).max() / total)
        if error <= standard_error or time.perf_counter() - start > seconds:
            break
    probability = np.where(network.is_root, network.leak, np.nan)
    probability[kept] = p
    return SecondOpinion(probability, error, int(samples), total**2 / square)


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


def _draw(
    network: NoisyOr, state: np.ndarray, tilt: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """States (n, S) and log-weights (S,)."""
    states, log_weight = np.zeros((len(network), _BATCH)), np.zeros(_BATCH)
    with np.errstate(divide="ignore"):
        for i in range(len(network)):
            edges = slice(network.first[i], network.first[i + 1])
            off = (
                np.log1p(-network.leak[i]) + np.log1p(-network.trigger[edges]) @ states[network.cause[edges]]
            )
            on = -np.expm1(off)
            if state[i] >= 0:
                states[i] = state[i]
                log_weight += np.log(on) if state[i] else off
                continue
            raised = on * np.exp(tilt[i])
            total = raised + (1 - on)
            states[i] = generator.random(_BATCH) * total < raised
            log_weight += np.log(total) - tilt[i] * states[i]
    return states, log_weight
