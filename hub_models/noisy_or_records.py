"""The answer to "what caused this?": one record a failure, and how far to trust it. Published code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .errors import FailureNetworkError
from .noisy_or_moments import Moments

_FEW_SAMPLES, _HEAVY_TAIL = 1000, 0.7


@dataclass(frozen=True)
class FailurePosterior:
    """One failure given the evidence.

    Attributes:
        name, stage: of the failure.
        probability: P(present | evidence).
        low, high: 95 % interval of the computation (not of the experts' numbers); equal if exact.
        prior: P(present) without evidence: exact for failures without causes, else an upper bound.
        is_root: has no causes in the network.
        observed: True or False as observed, None if it was not.
    """

    name: str
    probability: float
    low: float
    high: float
    stage: str
    prior: float
    is_root: bool
    observed: bool | None


@dataclass(frozen=True)
class Posterior:
    """All failures, in the order of the network; iterates over the records.

    Attributes:
        records: of every failure.
        method: "exact", "sampled", or "exact causes, sampled consequences".
        log_evidence: log P(evidence).
        samples: weighted samples drawn, 0 if exact.
        effective_samples: how many unweighted samples they are worth; infinite if exact.
        pareto_k: of the weights; above 0.7 the intervals cannot be trusted. NaN if exact.
        precision: the largest half width of the intervals.
        seconds: spent, setup included.
        warnings: what a reader must know before using the numbers.
    """

    records: tuple[FailurePosterior, ...]
    method: str
    log_evidence: float
    samples: int
    effective_samples: float
    pareto_k: float
    precision: float
    seconds: float
    warnings: tuple[str, ...]

    def __iter__(self) -> Iterator[FailurePosterior]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, name: str) -> FailurePosterior:
        for record in self.records:
            if record.name == name:
                return record
        raise KeyError(name)

    def ranked(self, roots_only: bool = True) -> list[FailurePosterior]:
        """Unobserved failures, the most probable one first; with ``roots_only`` those without causes."""
        chosen = [r for r in self.records if r.observed is None and (r.is_root or not roots_only)]
        return sorted(chosen, key=lambda record: -record.probability)

    def to_pandas(self) -> Any:
        """One row a failure, as a pandas DataFrame."""
        try:
            import pandas
        except ImportError as error:
            raise FailureNetworkError("to_pandas needs pandas: pip install pandas") from error
        return pandas.DataFrame([vars(record) for record in self.records])


def warnings_of(moments: Moments | None, reached: float, precision: float) -> tuple[str, ...]:
    """What is wrong with sampled answers: precision missed, few effective samples, heavy-tailed weights."""
    if moments is None:
        return ()
    found = []
    if reached > precision > 0:
        found.append(
            f"precision {precision:g} was not reached in the time limit: intervals are up to +-{reached:.2g} wide; "
            "allow more time"
        )
    if moments.effective < _FEW_SAMPLES:
        found.append(
            f"{moments.count} samples are worth only {moments.effective:.0f}: this evidence is hard to explain; "
            "read the ranking with its intervals"
        )
    if moments.pareto_k > _HEAVY_TAIL:
        found.append(
            f"a few samples carry most of the weight (Pareto k {moments.pareto_k:.2f} > {_HEAVY_TAIL}): the true "
            "values may lie outside the intervals; allow more time and compare"
        )
    return tuple(found)
