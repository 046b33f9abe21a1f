"""Weighted samples of all failures given evidence, drawn backwards from what was observed. Published code.

Forward sampling hardly ever meets rare evidence. Here each present failure is first explained: a cause is chosen,
its leak or a parent, which then must be explained in turn; a guess of how likely each cause is together with what
still waits (`Proposal`) leads the choice, so that explanations that share causes are found. Everything else is then
drawn forwards. The weights make the estimate unbiased for any guess, by the identity

    P(x_i = 1 | x) = sum over causes c of P(x_i = 1 | x) k(c | x),   k(c | x) = v_c / (leak_i + sum_m trigger_m x_m)

with v = leak_i for the leak and trigger_m x_m for a parent: target density and draw both know the chosen causes.

Failures are rare, so each is kept as the list of samples in which it is present: the cost of one failure does not
grow with the samples in which nothing happens to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .noisy_or_backward import Explained, explain_backwards
from .noisy_or_evidence import Case
from .noisy_or_moments import Moments
from .noisy_or_proposal import Proposal

_NONE = np.zeros(0, dtype=np.int64)
_DENSE = 0.2  # a chance from which on every sample is drawn by itself


@dataclass(frozen=True, eq=False)
class Draws:
    """S weighted samples of n failures.

    Attributes:
        having: for each failure the samples in which it is present.
        log_weight: (S,) log of P(states, evidence) / chance of the draw; -inf where evidence is missed.
    """

    having: list[np.ndarray]
    log_weight: np.ndarray

    def states(self) -> np.ndarray:
        """(n, S) float32, 1 = present."""
        states = np.zeros((len(self.having), len(self.log_weight)), dtype=np.float32)
        for row, samples in zip(states, self.having, strict=True):
            row[samples] = 1
        return states

    def moments(self, log_shift: float) -> Moments:
        """Their sums, weights divided by exp(``log_shift``)."""
        weight = np.exp(self.log_weight - log_shift)
        square = weight**2
        sums = [(weight[samples].sum(), square[samples].sum()) for samples in self.having]
        return Moments.of_sums(self.log_weight, log_shift, *np.array(sums).T)


class BackwardSampler:
    """Draws samples of one case."""

    def __init__(self, case: Case, proposal: Proposal) -> None:
        self._case, self._proposal = case, proposal
        network, n = case.network, len(case)
        self._first, self._cause = network.first.tolist(), network.cause.tolist()
        with np.errstate(divide="ignore"):
            self._log_silent = np.log1p(-network.trigger)
            log_no_leak = np.log1p(-network.leak)
        self._tilt = np.zeros(n)
        self._tilt[: case.informed] = proposal.tilt[0]
        free = case.possible & ~case.present
        raised = network.leak * np.exp(self._tilt)
        total = raised + (1 - network.leak)
        #: Chance by the leak alone, tilted; and what a failure that nothing happens to adds to the log-weight.
        self._alone = np.where(free, raised / total, 0.0)
        self._still = np.where(case.absent, log_no_leak, np.where(free, np.log(total), 0.0))

    def moments(self, count: int, seed: int, log_shift: float) -> Moments:
        """Sums over ``count`` samples, their weights divided by exp(``log_shift``)."""
        return self.draw(count, np.random.default_rng(seed)).moments(log_shift)

    def draw(self, count: int, generator: np.random.Generator) -> Draws:
        """``count`` samples of every failure of the case."""
        log_weight = np.full(count, self._still.sum())
        explained = explain_backwards(self._case, self._proposal, log_weight, generator)
        forward = _Forward(log_weight, generator)
        having: list[np.ndarray] = []
        for i in range(len(self._case)):
            edges = slice(self._first[i], self._first[i + 1])
            active = [
                (q, log_silent, having[cause])
                for cause, q, log_silent in zip(
                    self._cause[edges],
                    self._case.network.trigger[edges],
                    self._log_silent[edges],
                    strict=True,
                )
                if len(having[cause])
            ]
            if self._case.absent[i]:
                for _, log_silent, samples in active:
                    log_weight[samples] += log_silent
                having.append(_NONE)
                continue
            forced = explained.get(i)
            if forced is not None:
                forward.account(self._case.network.leak[i], self._still[i], forced, active)
            having.append(self._present_in(i, forced, active, forward))
        return Draws(having, log_weight)

    def _present_in(
        self, i: int, forced: Explained | None, active: list[_Active], forward: _Forward
    ) -> np.ndarray:
        count = len(forward.log_weight)
        if forced is not None and len(forced.samples) == count:
            return forced.samples
        alone = forward.some(self._alone[i])
        if self._tilt[i] == 0:
            return forward.triggered(alone, forced, active)
        return forward.tilted(
            self._tilt[i], self._case.network.leak[i], self._still[i], alone, forced, active
        )


#: Trigger, log(1 - trigger), and the samples in which this cause is present.
_Active = tuple[float, float, np.ndarray]


class _Forward:
    """The forward steps; they share weights, random numbers and work space over samples."""

    def __init__(self, log_weight: np.ndarray, generator: np.random.Generator) -> None:
        self.log_weight, self._generator = log_weight, generator
        count = len(log_weight)
        self._silent, self._claims = np.ones(count), np.zeros(count)
        self._marked = np.zeros(count, dtype=bool)

    def some(self, chance: float) -> np.ndarray:
        """Samples in which an event of this chance happens, ascending, by the gaps between them."""
        count = len(self.log_weight)
        if chance <= 0:
            return _NONE
        if chance > _DENSE:
            return np.flatnonzero(self._generator.random(count) < chance)
        parts, last = [], -1
        while last < count:
            expected = (count - last) * chance
            gaps = self._generator.geometric(chance, int(expected + 4 * expected**0.5 + 4))
            parts.append(last + np.cumsum(np.minimum(gaps, count + 1)))
            last = int(parts[-1][-1])
        found = np.concatenate(parts)
        return found[: np.searchsorted(found, count)]

    def account(self, leak: float, still: float, forced: Explained, active: list[_Active]) -> None:
        """Weigh failures that must be present: P(x_i = 1 | x) k(c | x)."""
        samples = forced.samples
        for q, _, having in active:
            self._silent[having] *= 1 - q
            self._claims[having] += q
        on = 1 - (1 - leak) * self._silent[samples]
        self.log_weight[samples] += np.log(on * forced.strength / (leak + self._claims[samples])) - still
        for _, _, having in active:
            self._silent[having] = 1
            self._claims[having] = 0

    def triggered(self, alone: np.ndarray, forced: Explained | None, active: list[_Active]) -> np.ndarray:
        """Samples in which the leak or a cause acts, each edge drawn by itself."""
        hits = [alone] if forced is None else [alone, forced.samples]
        hits += [having[self._generator.random(len(having)) < q] for q, _, having in active]
        return self._union(hits)

    def tilted(
        self,
        tilt: float,
        leak: float,
        still: float,
        alone: np.ndarray,
        forced: Explained | None,
        active: list[_Active],
    ) -> np.ndarray:
        """The same with odds multiplied by exp(tilt): drawn from all causes together, and weighed."""
        must = _NONE if forced is None else forced.samples
        touched = self._union([having for _, _, having in active])
        self._marked[must] = True
        free = touched[~self._marked[touched]]
        self._marked[touched] = True
        alone = alone[~self._marked[alone]]
        self._marked[must] = self._marked[touched] = False
        for q, _, having in active:
            self._silent[having] *= 1 - q
        off = (1 - leak) * self._silent[free]
        self._silent[touched] = 1
        raised = (1 - off) * np.exp(tilt)
        total = raised + off
        on = self._generator.random(len(free)) * total < raised
        self.log_weight[free] += np.log(total) - still - tilt * on
        self.log_weight[alone] -= tilt
        return np.concatenate([must, alone, free[on]])

    def _union(self, parts: list[np.ndarray]) -> np.ndarray:
        filled = [part for part in parts if len(part)]
        if len(filled) < 2:
            return filled[0] if filled else _NONE
        for part in filled:
            self._marked[part] = True
        union = np.flatnonzero(self._marked)
        self._marked[union] = False
        return union
