"""What else a failure network answers from weighted samples or marginals. Published code.

- what to inspect next: expected information per cost;
- which expert number the verdict hangs on: slope of a posterior;
- where to act first: expected severity that each failure is responsible for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .errors import FailureNetworkError
from .noisy_or import NoisyOr
from .noisy_or_evidence import Case, Evidence, pose
from .noisy_or_proposal import propose
from .noisy_or_sampling import BackwardSampler

#: A pair of failures counts as related beyond this likelihood-ratio statistic (99.9 % of chi squared, 1 degree).
_RELATED = 10.8


@dataclass(frozen=True)
class Inspection:
    """What looking at one failure would tell.

    Attributes:
        name, stage: of the failure.
        probability: that it will be found present.
        information: expected information about the root causes, in bits: the sum over unobserved root causes of
            the mutual information with this failure.
        cost: of the inspection.
        value: information / cost.
    """

    name: str
    stage: str
    probability: float
    information: float
    cost: float
    value: float


@dataclass(frozen=True)
class Sensitivity:
    """How a posterior moves with one expert number.

    Attributes:
        cause: of the edge; None if the number is a leak or prior.
        failure: effect of the edge, or the failure of the leak.
        number: its value.
        slope: d posterior / d log-odds of the number.
        low, high: 95 % interval of the slope.
    """

    cause: str | None
    failure: str
    number: float
    slope: float
    low: float
    high: float


@dataclass(frozen=True)
class RiskPriority:
    """What one failure costs.

    Attributes:
        name, stage: of the failure.
        risk: expected severity that would be spared if this failure never happened.
        probability: that it happens (upper bound).
    """

    name: str
    stage: str
    risk: float
    probability: float


@dataclass(frozen=True, eq=False)
class _Sampled:
    """States (n, S) float32 in the order of the case, weights (S,) that sum to 1."""

    case: Case
    states: np.ndarray
    weight: np.ndarray

    @property
    def effective(self) -> float:
        return float(1 / (self.weight**2).sum())


def inspection_values(
    network: NoisyOr,
    evidence: Evidence,
    cost: Mapping[str, float] | None = None,
    samples: int = 8192,
    seed: int = 0,
) -> list[Inspection]:
    """Every unobserved failure that may be either, the most telling per cost first.

    Args:
        cost: name -> cost of inspecting it, above 0; 1 where not given.

    Raises:
        FailureNetworkError: contradictory evidence, unknown names or costs that are not above 0.
    """
    cost = dict(cost or {})
    network.positions(cost)
    for name, value in cost.items():
        if not value > 0:
            raise FailureNetworkError(f"cost of {name!r} is {value}; it must be above 0")
    drawn = _sampled(network, evidence, samples, seed)
    case, x = drawn.case, drawn.states
    p = x @ drawn.weight
    open_ = case.possible & ~case.present & (p > 0) & (p < 1)
    roots = np.flatnonzero(open_ & case.network.is_root)
    both = ((x[roots] * drawn.weight).astype(np.float32) @ x.T).astype(np.float64)
    bits = _mutual_information(both, p[roots][:, None], p[None, :])
    related = 2 * np.log(2) * drawn.effective * bits > _RELATED
    information = np.where(related, bits, 0.0).sum(axis=0)
    found = []
    for i in np.flatnonzero(open_).tolist():
        name, price = case.network.names[i], float(cost.get(case.network.names[i], 1.0))
        told = float(information[i])
        found.append(Inspection(name, case.network.stage(i), float(p[i]), told, price, told / price))
    return sorted(found, key=lambda inspection: -inspection.value)


def sensitivities(
    network: NoisyOr, evidence: Evidence, cause: str, samples: int = 8192, seed: int = 0
) -> list[Sensitivity]:
    """The posterior of ``cause`` against every number that it may depend on, the steepest first.

    d P(cause | evidence) / d number = posterior covariance of the cause with d log P(state) / d number.

    Raises:
        FailureNetworkError: contradictory evidence or an unknown name.
    """
    target = int(network.positions([cause])[0])
    drawn = _sampled(network, evidence, samples, seed, about=target)
    case, net, x = drawn.case, drawn.case.network, drawn.states
    at = int(np.flatnonzero(case.kept == target)[0])
    pull = drawn.weight * (x[at] - x[at] @ drawn.weight)
    found = []
    for i in range(len(case)):
        edges = slice(net.first[i], net.first[i + 1])
        numbers = np.append(net.trigger[edges], net.leak[i])
        sure = np.minimum(numbers, 1 - 1e-16)
        active = np.concatenate([x[net.cause[edges]], np.ones_like(x[:1])])
        off = np.minimum(np.log1p(-sure) @ active, -1e-300)
        # d log P(x_i | causes) / d log-odds of each number.
        values = numbers[:, None] * active * np.where(x[i] > 0, np.exp(off) / -np.expm1(off), -1.0)
        slopes = values @ pull
        errors = 1.96 * np.sqrt((((values - (values @ drawn.weight)[:, None]) * pull) ** 2).sum(axis=1))
        names = [*(net.names[c] for c in net.cause[edges]), None]
        for name, number, slope, error in zip(
            names, numbers.tolist(), slopes.tolist(), errors.tolist(), strict=True
        ):
            if 0 < number < 1:
                found.append(Sensitivity(name, net.names[i], number, slope, slope - error, slope + error))
    return sorted(found, key=lambda item: -abs(item.slope))


def risk_priorities(
    network: NoisyOr, severity: Mapping[str, float], escape: Mapping[str, float] | None = None
) -> list[RiskPriority]:
    """What each failure is responsible for: sum over failures j of severity_j escape_j (P(j) - P(j | do(not i))).

    A ranking from the network in place of severity x occurrence x detection: a frequent cause of harmless effects
    falls, a rare one upstream of many severe effects rises. Causes are taken as independent (upper bounds).

    Args:
        severity: name -> how bad the failure is, at least 0; 0 where not given.
        escape: name -> probability that the failure is not detected; 1 where not given.

    Raises:
        FailureNetworkError: unknown names, a negative severity, an escape outside [0, 1].
    """
    escape = escape or {}
    network.positions([*severity, *escape])
    for name, value in severity.items():
        if not value >= 0:
            raise FailureNetworkError(f"severity of {name!r} is {value}; it must be at least 0")
    for name, value in escape.items():
        if not 0 <= value <= 1:
            raise FailureNetworkError(f"escape of {name!r} is {value}; it must be a probability")
    harm = np.array([severity.get(name, 0.0) * escape.get(name, 1.0) for name in network.names])
    marginal = network.marginals()
    without = _marginals_without_each(network)
    risk = harm @ (marginal[:, None] - without)
    found = [
        RiskPriority(name, network.stage(i), max(float(risk[i]), 0.0), float(marginal[i]))
        for i, name in enumerate(network.names)
    ]
    return sorted(found, key=lambda item: -item.risk)


def _marginals_without_each(network: NoisyOr) -> np.ndarray:
    """(n, n): column i holds the marginals when failure i never happens."""
    result = np.zeros((len(network), len(network)))
    for i in network.order:
        edges = slice(network.first[i], network.first[i + 1])
        off = np.prod(1 - network.trigger[edges, None] * result[network.cause[edges]], axis=0)
        result[i] = 1 - (1 - network.leak[i]) * off
        result[i, i] = 0
    return result


def _sampled(
    network: NoisyOr, evidence: Evidence, samples: int, seed: int, about: int | None = None
) -> _Sampled:
    """Of the whole network; of the informed failures alone if ``about`` is one of them."""
    case = pose(network, evidence)
    if about is not None and about in case.kept[: case.informed]:
        case = case.causes_only
    draws = BackwardSampler(case, propose([case])).draw(samples, np.random.default_rng(seed))
    weight = np.exp(draws.log_weight - draws.log_weight.max())
    return _Sampled(case, draws.states(), weight / weight.sum())


def _mutual_information(both: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Bits that two binary variables share, from P(both present) and P(each present)."""
    total = np.zeros(np.broadcast_shapes(both.shape, p.shape, q.shape))
    for joint, a, b in (
        (both, p, q),
        (p - both, p, 1 - q),
        (q - both, 1 - p, q),
        (1 - p - q + both, 1 - p, 1 - q),
    ):
        joint = np.maximum(joint, 0.0)
        ratio = np.maximum(joint, 1e-300) / np.maximum(a * b, 1e-300)
        total += np.where(joint > 1e-15, joint * np.log2(ratio), 0.0)
    return np.maximum(total, 0.0)
