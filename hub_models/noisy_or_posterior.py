"""Posterior of every failure: exact or sampled, with intervals and the reasons to doubt them. Published code."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from .errors import FailureNetworkError
from .noisy_or import NoisyOr
from .noisy_or_compiled import CompiledSampler, is_available
from .noisy_or_evidence import Case, Evidence, pose
from .noisy_or_exact import exact_plan, exact_posterior
from .noisy_or_moments import Moments
from .noisy_or_proposal import propose
from .noisy_or_records import FailurePosterior, Posterior, warnings_of
from .noisy_or_sampling import BackwardSampler

#: Disagreement by rounding up to which sums are called exact.
_EXACT_ERROR = 1e-7
_PILOT = 64
_FIRST_BATCH, _BATCH = 4096, 16384
_SAFETY = 0.8  # of the time that is left, so that the limit holds


def infer(
    network: NoisyOr,
    evidence: Evidence,
    precision: float = 0.01,
    time_limit: float = 10.0,
    seed: int = 0,
    exact: bool | None = None,
    compiled: bool | None = None,
) -> Posterior:
    """P(X_i = 1 | evidence) for every failure.

    Exact where the sums are small enough; otherwise weighted samples are added until every 95 % interval is at
    most ``precision`` on either side, or the time is over.

    Args:
        precision: of a probability, at least 0; 0 uses the whole time.
        time_limit: seconds, for everything; the first samples are drawn in any case.
        seed: of the samples; with one thread and no limit reached, the same seed gives the same numbers.
        exact: True insists on it, False forbids it, None chooses.
        compiled: the same for numba. Its first use takes a few seconds, once for a machine.

    Raises:
        FailureNetworkError: contradictory evidence, or exact or compiled insisted on where it is not possible.
    """
    start = time.perf_counter()
    if not (precision >= 0 and time_limit > 0):
        raise FailureNetworkError(f"precision {precision} must be >= 0 and time_limit {time_limit} > 0")
    case = pose(network, evidence)
    solved = _Solved(case)
    if exact is not False:
        solved.solve_exactly()
    if exact and not solved.complete:
        raise FailureNetworkError("this case is too entangled for exact sums; leave exact=None for samples")
    moments = None
    if not solved.complete:
        sampler = _sampler(case, compiled)
        deadline = start + time_limit
        moments = _sample(sampler, solved.known, precision, deadline, seed)
        solved.fill(moments)
    return _summary(network, case, evidence, solved, moments, precision, start)


class _Solved:
    """Probabilities and intervals as they become known, in the order of the case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.probability = np.where(case.present, 1.0, 0.0)
        self.known = case.present | ~case.possible
        consequences = np.arange(len(case)) >= case.informed
        free_roots = consequences & case.network.is_root
        self.probability[free_roots] = case.network.leak[free_roots]
        self.known |= free_roots
        self.low, self.high = self.probability.copy(), self.probability.copy()
        self.log_evidence: float | None = None if case.informed else 0.0
        self.method = "exact"

    @property
    def complete(self) -> bool:
        """Whether nothing is left to sample."""
        return bool(self.known.all()) and self.log_evidence is not None

    def solve_exactly(self) -> None:
        """Evidence and its causes if that is possible, and then the whole network if that is too."""
        for part in (self.case.causes_only, self.case) if self.case.informed else (self.case,):
            plan = exact_plan(part)
            answer = exact_posterior(part, plan) if plan else None
            if answer is None or answer.error > _EXACT_ERROR:
                return
            self.probability[: len(part)] = answer.probability
            self.low, self.high = self.probability.copy(), self.probability.copy()
            self.known[: len(part)] = True
            self.log_evidence = answer.log_evidence

    def fill(self, moments: Moments) -> None:
        """Take what is not known yet from samples."""
        exact_causes = self.case.informed > 0 and bool(self.known[: self.case.informed].all())
        self.method = "exact causes, sampled consequences" if exact_causes else "sampled"
        open_ = ~self.known
        low, high = moments.interval()
        self.probability[open_] = moments.probability[open_]
        self.low[open_], self.high[open_] = low[open_], high[open_]
        if self.log_evidence is None:
            self.log_evidence = moments.log_evidence


def _sampler(case: Case, compiled: bool | None) -> BackwardSampler | CompiledSampler:
    if compiled and not is_available():
        raise FailureNetworkError("compiled=True needs numba: pip install numba")
    proposal = propose([case])
    if compiled or (compiled is None and is_available()):
        return CompiledSampler(case, proposal)
    return BackwardSampler(case, proposal)


def _sample(
    sampler: BackwardSampler | CompiledSampler,
    known: np.ndarray,
    precision: float,
    deadline: float,
    seed: int,
) -> Moments:
    """Add samples until the precision or the deadline; threads as many as torch may use, if compiled."""
    seeds = iter(np.random.SeedSequence(seed).generate_state(1 << 16).tolist())
    tail = sampler.moments(_PILOT, next(seeds), 0.0).tail
    shift = float(tail.max()) if np.isfinite(tail.max()) else 0.0
    compiled = isinstance(sampler, CompiledSampler)
    workers = torch.get_num_threads() if compiled else 1
    count, began = _FIRST_BATCH, time.perf_counter()
    moments = sampler.moments(count, next(seeds), shift)
    with ThreadPoolExecutor(workers) as pool:
        while (missing := _missing(moments, known, precision)) > 0:
            now = time.perf_counter()
            affordable = int(_SAFETY * count * (deadline - now) / (now - began))
            if affordable < count // 4:
                break  # small batches waste the rest of the time on their setup
            count, began = int(min(max(missing / workers, _FIRST_BATCH), affordable, _BATCH)), now
            jobs = [pool.submit(sampler.moments, count, next(seeds), shift) for _ in range(workers)]
            for job in jobs:
                moments = moments + job.result()
    return moments


def _missing(moments: Moments, known: np.ndarray, precision: float) -> float:
    """About how many samples more reach the precision."""
    half = _half_width(*moments.interval(), known)
    if precision == 0:
        return math.inf
    return moments.count * max(0.0, (half / precision) ** 2 - 1) * 1.05


def _half_width(low: np.ndarray, high: np.ndarray, known: np.ndarray) -> float:
    return float(np.where(known, 0.0, (high - low) / 2).max())


def _summary(
    network: NoisyOr,
    case: Case,
    evidence: Evidence,
    solved: _Solved,
    moments: Moments | None,
    precision: float,
    start: float,
) -> Posterior:
    place = np.empty(len(case), dtype=np.int64)
    place[case.kept] = np.arange(len(case))
    prior = network.marginals()
    observed: list[bool | None] = [None] * len(network)
    for mask, value in ((evidence.present, True), (evidence.absent, False)):
        for i in mask.tolist():
            observed[i] = value
    records = tuple(
        FailurePosterior(
            name=name,
            probability=float(solved.probability[p]),
            low=float(solved.low[p]),
            high=float(solved.high[p]),
            stage=network.stage(i),
            prior=float(prior[i]),
            is_root=bool(network.is_root[i]),
            observed=observed[i],
        )
        for i, (name, p) in enumerate(zip(network.names, place, strict=True))
    )
    reached = _half_width(solved.low, solved.high, solved.known)
    return Posterior(
        records=records,
        method=solved.method,
        log_evidence=float(solved.log_evidence or 0.0),
        samples=moments.count if moments else 0,
        effective_samples=moments.effective if moments else math.inf,
        pareto_k=moments.pareto_k if moments else math.nan,
        precision=reached,
        seconds=time.perf_counter() - start,
        warnings=warnings_of(moments, reached, precision),
    )
