"""What the bounds leave open: the occurrence that causes imply, exactly or from samples with an error bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .certificates import Certificate
from .statements import Statements

#: A table of 2^16 states and their probabilities.
MOST_ENUMERATED = 16
FIRST_SAMPLES, MOST_SAMPLES = 1 << 16, 1 << 18
#: Chance that a sampled bound is wrong, for one failure in one round.
ERROR_CHANCE = 1e-4


@dataclass(frozen=True)
class Implied:
    """What the causes of one failure alone imply.

    Attributes:
        value: estimate of I.
        low, high: bounds.
        method: "exact", or "sampled" with the chance ``ERROR_CHANCE`` that the bounds are wrong.
    """

    value: float
    low: float
    high: float
    method: str


def settle(statements: Statements, certificate: Certificate, seed: int = 0) -> dict[int, Implied]:
    """Look closer at every undecided failure: enumerate if few failures come before it, else sample.

    Samples are added until each failure is decided or ``MOST_SAMPLES`` were drawn.

    Returns:
        by position of the failure; its verdict is open where the stated number lies within the bounds.
    """
    settled: dict[int, Implied] = {}
    to_sample = []
    for node in np.flatnonzero(certificate.undecided).tolist():
        before = ancestors(statements, [node])
        if len(before) <= MOST_ENUMERATED:
            value = enumerated(statements, node, before)
            settled[node] = Implied(value, value, value, "exact")
        else:
            to_sample.append(node)
    samples = FIRST_SAMPLES
    while to_sample and samples <= MOST_SAMPLES:
        settled |= _sampled(
            statements, certificate, to_sample, samples, np.random.default_rng([seed, samples])
        )
        to_sample = [node for node in to_sample if is_open(statements.occurrence[node], settled[node])]
        samples *= 4
    return settled


def is_open(stated: float, implied: Implied) -> bool:
    """Whether the stated number lies within the bounds, so that neither verdict is safe."""
    return bool(implied.low <= stated < implied.high)


def ancestors(statements: Statements, nodes: list[int]) -> np.ndarray:
    """Positions, causes first, of everything that comes before ``nodes`` (without them)."""
    needed = np.zeros(len(statements.names), dtype=bool)
    needed[nodes] = True
    first = statements.first
    for i in range(max(nodes), -1, -1):
        if needed[i]:
            needed[statements.cause[first[i] : first[i + 1]]] = True
    needed[nodes] &= np.isin(nodes, statements.cause[needed[statements.effect]])
    return np.flatnonzero(needed)


def enumerated(statements: Statements, node: int, before: np.ndarray) -> float:
    """I of one failure, from the probability of each of the 2^k states of the k failures before it."""
    column = {int(position): number for number, position in enumerate(before)}
    first = statements.first
    states = np.zeros((1, 0), dtype=bool)
    probability = np.ones(1)

    def silent(i: int) -> np.ndarray:
        """For each state, P(no cause triggers failure i)."""
        edges = slice(first[i], first[i + 1])
        columns = [column[int(cause)] for cause in statements.cause[edges]]
        return np.where(states[:, columns], 1 - statements.trigger[edges], 1.0).prod(axis=1)

    for i in before:
        quiet = silent(i)
        expected = float(probability @ quiet)
        stated = statements.occurrence[i]
        marginal = 1 - expected if np.isnan(stated) else max(float(stated), 1 - expected)
        off = quiet * ((1 - marginal) / expected if expected > 0 else 0.0)
        probability = np.concatenate([probability * off, probability * (1 - off)])
        states = np.concatenate(
            [np.pad(states, ((0, 0), (0, 1))), np.pad(states, ((0, 0), (0, 1)), constant_values=True)]
        )
    return 1 - float(probability @ silent(node))


def _sampled(
    statements: Statements,
    certificate: Certificate,
    nodes: list[int],
    samples: int,
    generator: np.random.Generator,
) -> dict[int, Implied]:
    """Forward sampling of all that comes before ``nodes``, each failure kept as the list of samples that have it.

    I = sum_j q_j m_j - E[D] with D = sum_j q_j X_j - (1 - prod_j (1 - q_j X_j)), which is 0 unless two causes come
    together: only this rare correction is estimated. Its error is bounded by Maurer and Pontil's empirical Bernstein
    inequality (2009). What the bounds leave open about the failures further up is added to the error: their
    occurrence, and twice its relative share in the correction, which is of second order in them.
    """
    first = statements.first
    marginal = (certificate.marginal_low + certificate.marginal_high) / 2
    doubt = certificate.marginal_high - marginal
    implied = (certificate.lower + certificate.upper) / 2
    before = ancestors(statements, nodes)
    with np.errstate(invalid="ignore"):
        spread = np.nan_to_num((certificate.upper - certificate.lower) / marginal)[before].max()
    having: dict[int, np.ndarray] = {}
    found = {}
    for i in np.union1d(before, nodes).tolist():
        edges = slice(first[i], first[i + 1])
        causes, q = statements.cause[edges], statements.trigger[edges]
        present = [having[j] for j in causes.tolist()]
        if i in nodes:
            mean, error = _correction(present, q, samples)
            error += float(q @ doubt[causes]) + 2 * spread * mean
            value = float(q @ marginal[causes]) - mean
            low = max(value - error, float(certificate.lower[i]))
            high = max(low, min(value + error, float(certificate.upper[i])))
            found[i] = Implied(min(max(value, low), high), low, high, "sampled")
        leak = max(0.0, 1 - (1 - marginal[i]) / (1 - implied[i])) if implied[i] < 1 else 0.0
        has = np.zeros(samples, dtype=bool)
        has[_some(samples, leak, generator)] = True
        for part, probability in zip(present, q.tolist(), strict=True):
            has[part[generator.random(len(part)) < probability]] = True
        having[i] = np.flatnonzero(has)
    return found


def _correction(having: list[np.ndarray], q: np.ndarray, samples: int) -> tuple[float, float]:
    """Mean of D over the samples, and the bound of its error."""
    rows = np.concatenate(having)
    owner = np.repeat(np.arange(len(q)), [len(part) for part in having])
    with np.errstate(divide="ignore"):
        quiet = np.bincount(rows, np.log1p(-q)[owner], samples)
    excess = np.bincount(rows, q[owner], samples) + np.expm1(quiet)
    log_chance = math.log(4 / ERROR_CHANCE)
    largest = float(q.sum() - 1 + np.prod(1 - q))
    error = math.sqrt(2 * excess.var() * log_chance / samples) + 7 * largest * log_chance / (3 * samples)
    return float(excess.mean()), error


def _some(samples: int, probability: float, generator: np.random.Generator) -> np.ndarray:
    """Numbers of the samples in which an event of this probability happens."""
    count = generator.binomial(samples, probability)
    if count > samples // 8:
        return np.flatnonzero(generator.random(samples) < probability)
    chosen = np.unique(generator.integers(0, samples, count + 8))
    while len(chosen) < count:  # a few were drawn twice
        chosen = np.unique(np.concatenate([chosen, generator.integers(0, samples, count)]))
    return generator.permutation(chosen)[:count]
