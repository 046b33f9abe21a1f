"""Networks and evidence for benchmarks of failure-network inference, all seeded: `CASES` by name.

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
FAILURES, CAUSES = 600, 4.0


@dataclass(frozen=True)
class Case:
    """One kind of question; see `make_network` and `make_evidence` for the fields of the same names.

    Attributes:
        seconds: that an answer may take.
    """

    present: int
    absent: int = 5
    simulated: bool = False
    log10: float | None = None
    rarer: float = 1.0
    failures: int = FAILURES
    causes: float = CAUSES
    seconds: float = 1.0

    def posed(self, seed: int) -> tuple[NoisyOr, Evidence]:
        """The network and the evidence of a seed."""
        network = make_network(self.failures, self.causes, seed, self.rarer)
        return network, make_evidence(network, self.present, self.absent, self.simulated, seed, self.log10)


CASES = {
    "3 of a cascade": Case(3, simulated=True),
    "3 late failures": Case(3),
    "3 rare late failures": Case(3, log10=-8.0),
    "5 of a cascade": Case(5, simulated=True),
    "5 late failures": Case(5),
    "5 rare late failures": Case(5, log10=-14.0),
    "3 of a cascade, 144 absent": Case(3, absent=144, simulated=True),
    "3 late failures, all priors / 100": Case(3, rarer=100.0, seconds=2.0),
    "5 late failures, all priors / 100": Case(5, rarer=100.0, seconds=2.0),
}
LARGE_CASES = {
    "5,000 failures, 3 late ones": Case(3, failures=5000, causes=4.15, seconds=5.0),
    "12 rare late failures": Case(12, log10=-29.0, seconds=5.0),
}


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


def make_evidence(
    network: NoisyOr, present: int, absent: int, simulated: bool, seed: int, log10: float | None = None
) -> Evidence:
    """Late failures observed present, and other effects absent: late ones, and earlier ones where those do not do.

    Args:
        simulated: all of them as one simulated cascade has them, so that they occur together by nature.
        log10: of a thousand sets of late failures take the one whose marginals have a product nearest to this;
            what they have in common makes the evidence itself somewhat less rare.
    """
    generator = np.random.default_rng([present, seed])
    last = {f"stage {STAGES}", f"stage {STAGES - 1}"}
    effects = np.flatnonzero(~network.is_root)
    late = effects[[network.stages[i] in last for i in effects]]
    pool, clean = late, effects
    while simulated:
        states = network.sample(2000, generator)
        cascades = states[states[:, late].sum(axis=1) >= present]
        if len(cascades):
            pool, clean = late[cascades[0, late]], effects[~cascades[0, effects]]
            break
    on = generator.choice(pool, present, replace=False)
    if log10 is not None:
        sets = np.stack([generator.choice(pool, present, replace=False) for _ in range(1000)])
        rarity = np.log10(network.marginals()[sets]).sum(axis=1)
        on = sets[np.abs(rarity - log10).argmin()]
    clean = np.setdiff1d(clean, on)
    late_clean = np.intersect1d(clean, late)
    enough = absent <= len(late_clean)
    off = generator.choice(late_clean, absent, replace=False) if enough else clean[-absent:]
    return Evidence(np.sort(on), np.sort(off))
