"""Small random failure networks, and the posterior by the sum over all 2^n states."""

from __future__ import annotations

import itertools

import numpy as np

from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_evidence import Evidence


def random_network(
    failures: int, seed: int, most_causes: int = 4, extreme: float = 0.0, rarest: float = 1e-3
) -> NoisyOr:
    """Any order of names, so that positions are no topological order.

    Args:
        extreme: share of triggers and leaks that are 0 or 1.
        rarest: smallest prior or leak.
    """
    generator = np.random.default_rng([failures, seed])
    place = generator.permutation(failures)
    cause, effect = [], []
    for i in range(1, failures):
        count = min(i, generator.integers(0, most_causes + 1))
        cause += place[generator.choice(i, count, replace=False)].tolist()
        effect += [place[i]] * count
    trigger = generator.uniform(0.02, 0.95, len(cause))
    leak = np.exp(generator.uniform(np.log(rarest), np.log(0.3), failures))
    for values in (trigger, leak):
        odd = generator.random(len(values)) < extreme
        values[odd] = generator.integers(0, 2, odd.sum())
    names = tuple(f"f{i}" for i in range(failures))
    return NoisyOr(names, np.array(cause, int), np.array(effect, int), trigger, leak)


def random_evidence(network: NoisyOr, present: int, absent: int, seed: int) -> Evidence:
    """Anywhere in the network: roots and failures in the middle too."""
    chosen = np.random.default_rng(seed).permutation(len(network))[: present + absent]
    return Evidence(np.sort(chosen[:present]), np.sort(chosen[present:]))


def all_states(network: NoisyOr) -> np.ndarray:
    """(2^n, n) bool."""
    return np.array(list(itertools.product([False, True], repeat=len(network))))


def enumerated(network: NoisyOr, evidence: Evidence) -> tuple[np.ndarray, float]:
    """(n,) P(X_i = 1 | evidence) and P(evidence), by definition and with no code of the library but the names.

    The posterior is NaN where the evidence has probability zero.
    """
    states = all_states(network)
    off = np.tile(1 - network.leak, (len(states), 1))
    for cause, effect, q in zip(network.cause, network.effect, network.trigger, strict=True):
        off[:, effect] *= np.where(states[:, cause], 1 - q, 1.0)
    chance = np.where(states, 1 - off, off).prod(axis=1)
    chance *= states[:, evidence.present].all(axis=1) & ~states[:, evidence.absent].any(axis=1)
    total = chance.sum()
    return (chance @ states / total if total > 0 else np.full(len(network), np.nan)), float(total)
