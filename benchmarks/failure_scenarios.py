"""Networks and evidence for benchmarks of failure-network inference, all seeded.

Twelve process stages; a failure has causes in its own and the two stages before; a quarter of the failures past the
first stages are basic causes; triggers from a few round numbers, priors and leaks from an occurrence table. Observed
failures lie in the last two stages: those of one simulated cascade, or any, which is harder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_evidence import Evidence

STAGES, MOST_CAUSES, BASIC = 12, 15, 0.25
TRIGGERS = (0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 0.9)
TRIGGER_SHARES = (0.25, 0.2, 0.2, 0.15, 0.1, 0.06, 0.04)
OCCURRENCES = (1e-6, 1e-5, 1e-4, 5e-4, 2e-3, 1e-2, 2e-2, 5e-2)


@dataclass(frozen=True)
class Scenario:
    """One question: ``kind`` says what evidence, ``present`` how many observed failures."""

    name: str
    network: NoisyOr
    evidence: Evidence


def make_network(failures: int, causes: float, seed: int, rarer: float = 1.0) -> NoisyOr:
    """A network with about ``causes`` edges a failure; priors and leaks divided by ``rarer``."""
    generator = np.random.default_rng([failures, seed])
    stage = np.sort(generator.integers(0, STAGES, failures))
    cause, effect = [], []
    for i in range(failures):
        if generator.random() < BASIC or (stage[i] == 0 and generator.random() < 0.7):
            continue
        before = np.flatnonzero((stage >= stage[i] - 2) & (np.arange(failures) < i))
        count = min(len(before), MOST_CAUSES, 1 + generator.poisson(max(causes / (1 - BASIC) - 1, 0)))
        cause += generator.choice(before, count, replace=False).tolist()
        effect += [i] * count
    is_effect = np.isin(np.arange(failures), effect)
    prior, leak = generator.choice(OCCURRENCES, failures), generator.choice(OCCURRENCES[:6], failures)
    return NoisyOr(
        names=tuple(f"{s:02d}-{i:04d}" for i, s in enumerate(stage)),
        cause=np.array(cause),
        effect=np.array(effect),
        trigger=generator.choice(TRIGGERS, len(cause), p=TRIGGER_SHARES),
        leak=np.where(is_effect, leak, prior) / rarer,
        stages=tuple(f"stage {s + 1}" for s in stage),
    )


def make_evidence(network: NoisyOr, present: int, absent: int, simulated: bool, seed: int) -> Evidence:
    """Late failures observed present, and others absent (``absent`` of them, or all there are)."""
    generator = np.random.default_rng([present, seed])
    last = {f"stage {STAGES}", f"stage {STAGES - 1}"}
    late = np.flatnonzero(np.array([stage in last for stage in network.stages]) & ~network.is_root)
    clean = late
    pool = late
    while simulated:
        states = network.sample(2000, generator)[:, late]
        cascades = states[states.sum(axis=1) >= present]
        if len(cascades):
            pool, clean = late[cascades[0]], late[~cascades[0]]
            break
    on = generator.choice(pool, present, replace=False)
    clean = np.setdiff1d(clean, on)
    off = generator.choice(clean, min(absent, len(clean)), replace=False)
    return Evidence(np.sort(on), np.sort(off))
