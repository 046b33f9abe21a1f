"""The backward half of the sampler: a chain of causes for everything that was observed. Published code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .noisy_or_evidence import Case
from .noisy_or_proposal import Proposal

#: Share of the choice of causes that is uniform, so that no weight is unbounded.
DEFENSIVE = 0.01
_FIRST_ROOM = 16


@dataclass(frozen=True, eq=False)
class Explained:
    """Where one failure must be present.

    Attributes:
        samples: (R,) positions, without repetition.
        strength: (R,) leak or trigger of the cause that was chosen for it.
    """

    samples: np.ndarray
    strength: np.ndarray


def explain_backwards(
    case: Case, proposal: Proposal, log_weight: np.ndarray, generator: np.random.Generator
) -> dict[int, Explained]:
    """Choose a cause for each failure that must be present, the last one first.

    Args:
        log_weight: (S,), the chances of the choices are divided out in place.
    """
    network, none = case.network, case.informed
    first = network.first.tolist()
    observed = np.flatnonzero(case.present)
    places = _Waiting(len(log_weight), observed, none)
    pending: dict[int, list[np.ndarray]] = {int(i): [np.arange(len(log_weight))] for i in observed}
    explained = {}
    for i in range(case.informed - 1, -1, -1):
        if i not in pending:
            continue
        samples = np.concatenate(pending.pop(i))
        edges = slice(first[i], first[i + 1])
        usable = case.possible[network.cause[edges]] & (network.trigger[edges] > 0)
        causes, strength = network.cause[edges][usable], network.trigger[edges][usable]
        waiting = places.take(samples, i)
        leak = network.leak[i]
        if leak > 0:
            strength = np.append(strength, leak)
        if len(strength) == 1:
            choice = np.zeros(len(samples), dtype=np.int64)
        else:
            score = np.empty((len(strength), len(samples)))
            together = proposal.excess[causes][:, waiting].sum(axis=-1) + proposal.marginal[causes, None]
            score[: len(causes)] = strength[: len(causes), None] * np.minimum(1.0, together)
            score[len(causes) :] = leak
            choice = _choose(score, samples, log_weight, generator)
        explained[i] = Explained(samples, strength[choice])
        parents = choice < len(causes)
        chosen = np.append(causes, none)[choice]
        fresh = parents & ~(waiting == chosen[:, None]).any(axis=1)
        places.add(samples[fresh], chosen[fresh])
        for place, cause in enumerate(causes.tolist()):
            now = samples[fresh & (choice == place)]
            if len(now):
                pending.setdefault(cause, []).append(now)
    return explained


def _choose(
    score: np.ndarray, samples: np.ndarray, log_weight: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """One of k causes for each of R samples, by the scores (k, R)."""
    score *= (1 - DEFENSIVE) / np.maximum(score.sum(axis=0), 1e-300)
    score += DEFENSIVE / len(score)
    cumulative = score.cumsum(axis=0)
    choice = (cumulative[:-1] <= generator.random(len(samples)) * cumulative[-1]).sum(axis=0)
    log_weight[samples] -= np.log(score[choice, np.arange(len(samples))] / cumulative[-1])
    return choice


class _Waiting:
    """For each sample the failures that still wait for an explanation, in any order, empty places at the end."""

    def __init__(self, samples: int, observed: np.ndarray, none: int) -> None:
        self._none = none
        self._names = np.full((samples, max(_FIRST_ROOM, 2 * len(observed))), none, dtype=np.int64)
        self._names[:, : len(observed)] = observed
        self._size = np.full(samples, len(observed))

    def take(self, samples: np.ndarray, failure: int) -> np.ndarray:
        """Remove one failure from these samples; (R, most that wait) what remains."""
        size = self._size[samples] - 1
        rows = np.arange(len(samples))
        names = self._names[samples, : int(size.max()) + 1]
        place = (names == failure).argmax(axis=1)
        names[rows, place] = names[rows, size]
        names[rows, size] = self._none
        self._names[samples, : names.shape[1]] = names
        self._size[samples] = size
        return names[:, : max(1, int(size.max()))]

    def add(self, samples: np.ndarray, failures: np.ndarray) -> None:
        """One more failure in each of these samples."""
        if not len(samples):
            return
        size = self._size[samples]
        if int(size.max()) >= self._names.shape[1]:
            room = ((0, 0), (0, self._names.shape[1]))
            self._names = np.pad(self._names, room, constant_values=self._none)
        self._names[samples, size] = failures
        self._size[samples] = size + 1
