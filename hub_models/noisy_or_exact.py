"""Exact posteriors by summing variables out, where the network allows it. Published code.

A noisy-OR factor with many causes is split with one helper variable y a failure (Diez and Galan, 2003):

    P(x | causes) = sum over y of phi(x, y) * product over causes c of psi(c, y)
    phi(0, .) = (1 - leak, 0), phi(1, .) = (leak - 1, 1), psi(0, .) = (1, 1), psi(1, .) = (1 - trigger, 1)

so a table has 2^(induced width + 1) numbers, whatever the number of causes. Absent evidence is a product of factors
of one variable each. Bucket elimination (Dechter, 1999) gives P(evidence); one pass back gives every posterior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .noisy_or_elimination import Elimination, eliminate
from .noisy_or_evidence import Case
from .noisy_or_tables import Factor, arranged, noisy_or_table, product, summed_to

#: Chosen by itself up to this width: within a second on one core.
MOST_WIDTH = 20
#: All tables together, 8 bytes each, so that memory stays below a gigabyte.
MOST_CELLS = 1 << 26
#: Beyond this disagreement by rounding, and up to this size, sums are repeated in long double.
_CANCELLED, _MOST_LONG_CELLS = 1e-9, 1 << 22


@dataclass(frozen=True, eq=False)
class Factors:
    """P(all failures, evidence) as a product.

    Attributes:
        factors: over ``variables`` variables.
        variable: (n,) variable of each failure, -1 where its state is known.
        variables: with the helper variables.
        log_constant: log of a constant factor.
    """

    factors: list[Factor]
    variable: np.ndarray
    variables: int
    log_constant: float


@dataclass(frozen=True, eq=False)
class ExactPosterior:
    """Of one case.

    Attributes:
        probability: (n,) P(X_i = 1 | evidence).
        log_evidence: log P(evidence).
        error: largest relative disagreement on P(evidence) between the sums of different variables, which is
            what rounding has done: the helper variables subtract numbers that can be nearly equal.
    """

    probability: np.ndarray
    log_evidence: float
    error: float


def exact_plan(case: Case, most_width: int = MOST_WIDTH) -> Elimination | None:
    """How to solve a case exactly, None if that takes too wide or too many tables."""
    factors = make_factors(case)
    plan = eliminate((f.scope for f in factors.factors), factors.variables, most_width)
    return plan if plan is not None and plan.cells <= MOST_CELLS else None


def make_factors(case: Case, real: type[np.floating] = np.float64) -> Factors:
    """The case as factors with tables of this type; failures whose state is known are put in."""
    network, first = case.network, case.network.first
    leak, trigger = network.leak.astype(real), network.trigger.astype(real)
    free = case.possible & ~case.present
    variable = np.where(free, np.cumsum(free) - 1, -1)
    count = int(free.sum())
    factors: list[Factor] = []
    log_constant = 0.0
    for i in range(len(case)):
        if not (free[i] or case.present[i] or case.absent[i]):
            continue
        edges = slice(first[i], first[i + 1])
        causes, q = network.cause[edges], trigger[edges]
        on = leak[i] + (1 - leak[i]) * -np.expm1(_log1m(q[case.present[causes]]).sum())
        open_, q = variable[causes[free[causes]]], q[free[causes]]
        if case.absent[i]:
            log_constant += float(_log1m(on))
            factors += [Factor((int(v),), np.array([1.0, 1 - p])) for v, p in zip(open_, q, strict=True)]
            continue
        x = int(variable[i]) if free[i] else None
        if len(open_) <= (1 if free[i] else 2):
            table = noisy_or_table(on, q)
            if x is not None:
                factors.append(Factor((x, *open_.tolist()), np.stack([1 - table, table])))
            elif len(open_):
                factors.append(Factor(tuple(open_.tolist()), table))
            else:
                log_constant += math.log(on)
            continue
        y, count = count, count + 1
        factors += [
            Factor((int(v), y), np.array([[1.0, 1.0], [1 - p, 1.0]])) for v, p in zip(open_, q, strict=True)
        ]
        if x is None:
            factors.append(Factor((y,), np.array([on - 1, 1.0])))
        else:
            factors.append(Factor((x, y), np.array([[1 - on, 0.0], [on - 1, 1.0]])))
    return Factors(factors, variable, count, log_constant)


def exact_posterior(case: Case, plan: Elimination) -> ExactPosterior:
    """P(X_i = 1 | evidence) for all failures and log P(evidence); once more with longer floats if those cancel."""
    answer = _solve(case, plan, np.float64)
    if answer.error > _CANCELLED and plan.cells <= _MOST_LONG_CELLS:
        return min(answer, _solve(case, plan, np.longdouble), key=lambda each: each.error)
    return answer


def _solve(case: Case, plan: Elimination, real: type[np.floating]) -> ExactPosterior:
    factors = make_factors(case, real)
    rank = np.empty(factors.variables, dtype=np.int64)
    rank[list(plan.order)] = np.arange(factors.variables)
    own: list[list[Factor]] = [[] for _ in range(factors.variables)]
    for factor in factors.factors:
        placed = arranged(factor, rank)
        own[placed.scope[0]].append(placed)
    buckets = [_Bucket(inputs) for inputs in own]
    log_evidence = factors.log_constant
    for v, bucket in enumerate(buckets):
        log_evidence += _pass_forward(v, bucket, buckets)
    belief, error = np.zeros(len(buckets)), 0.0
    for v in range(len(buckets) - 1, -1, -1):
        belief[v], disagreement = _pass_back(buckets[v], buckets)
        error = max(error, disagreement)
    probability = np.where(case.present, 1.0, 0.0)
    free = factors.variable >= 0
    probability[free] = belief[rank[factors.variable[free]]]
    return ExactPosterior(np.clip(probability, 0.0, 1.0), log_evidence, error)


class _Bucket:
    """Everything whose first variable is this one. Tables are scaled to a largest value of 1.

    Attributes:
        own: product of the given factors, if any.
        children: buckets whose message comes here.
        message: the sum over this variable; None at the end of a component.
        log_scale: log of what was divided out of the messages of this bucket and all below it.
        log_total: log of this component's sum, known from the end of a component backwards.
        weight: of each entry of the message within the component's total; ``log_weight`` its scale.
    """

    def __init__(self, factors: list[Factor]) -> None:
        self.own = [product(factors)] if factors else []
        self.children: list[int] = []
        self.message: Factor | None = None
        self.log_scale = 0.0
        self.log_total = 0.0
        self.weight = np.ones(())
        self.log_weight = 0.0

    def inputs(self, buckets: list[_Bucket]) -> list[Factor]:
        messages = (buckets[child].message for child in self.children)
        return [*self.own, *(message for message in messages if message is not None)]


def _pass_forward(v: int, bucket: _Bucket, buckets: list[_Bucket]) -> float:
    """Sum one variable out and hand the result on; at the end of a component returns its log."""
    joined = product(bucket.inputs(buckets))
    table = joined.table[0] + joined.table[1]
    below = sum(buckets[child].log_scale for child in bucket.children)
    if len(joined.scope) == 1:
        bucket.log_scale = below
        bucket.log_total = below + math.log(max(float(table), 1e-300))
        return bucket.log_total
    scale = float(np.abs(table).max()) or 1.0
    bucket.log_scale = below + math.log(scale)
    bucket.message = Factor(joined.scope[1:], table / scale)
    buckets[joined.scope[1]].children.append(v)
    return 0.0


def _pass_back(bucket: _Bucket, buckets: list[_Bucket]) -> tuple[float, float]:
    """P(variable = 1 | evidence) and the relative disagreement on the total; hands weights to the children."""
    inputs = bucket.inputs(buckets)
    below = [buckets[child].log_scale for child in bucket.children]
    joined = product(inputs)
    upstream = Factor(joined.scope[1:], bucket.weight)
    off, on = (float((table * bucket.weight).sum()) for table in joined.table)
    log_here = sum(below) + bucket.log_weight + math.log(max(off + on, 1e-300))
    for place, child in enumerate(bucket.children):
        j = place + len(bucket.own)
        message = inputs[j]
        others = product([upstream, *inputs[:j], *inputs[j + 1 :]])
        weight = summed_to(others, message.scope)
        scale = float(np.abs(weight).max()) or 1.0
        node = buckets[child]
        node.weight = weight / scale
        node.log_weight = bucket.log_weight + sum(below) - below[place] + math.log(scale)
        node.log_total = bucket.log_total
    return on / (off + on), abs(math.expm1(min(log_here - bucket.log_total, 700.0)))


def _log1m(p: np.ndarray) -> np.ndarray:
    """log(1 - p), -inf for 1."""
    with np.errstate(divide="ignore"):
        return np.log1p(-p)
