"""Do numbers that experts gave one by one fit together? Certified where cheap bounds suffice, else looked into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .certificates import ROUNDING, certify
from .confirmation import Implied, is_open, settle
from .experts import Disagreement, disagreements
from .leaks import as_diez, henrion_leaks
from .records import FailureTable, Opinion, Place
from .statements import Statements, combine

Kind = Literal["too rare", "weaker than leak"]


@dataclass(frozen=True)
class Finding:
    """Numbers that contradict each other.

    Attributes:
        kind: "too rare": a failure is stated rarer than its causes alone make it, its leak would be negative.
            "weaker than leak" (Henrion's meaning only): the number of a relation, which includes unnamed causes, is
            smaller than the share of these.
        failure: the effect.
        cause: of the relation that is too weak, else None.
        stated: the occurrence, or the number of the relation.
        implied: what it is at least by the other numbers; ``low``, ``high`` bound that.
        method: "certified" bounds, "exact" enumeration, or "sampled" (see `confirmation.ERROR_CHANCE`).
        undecided: whether ``stated`` lies within the bounds; else it certainly contradicts.
        alone: causes each of which, alone, already implies more than ``stated``; where to look first.
        places: of the numbers concerned: those of the failure, then of its relations, strongest first.
    """

    kind: Kind
    failure: str
    cause: str | None
    stated: float
    implied: float
    low: float
    high: float
    method: str
    undecided: bool
    alone: tuple[str, ...]
    places: tuple[Place, ...]

    @property
    def factor(self) -> float:
        """How many times too small the stated number is."""
        return self.implied / self.stated if self.stated > 0 else float("inf")

    def __str__(self) -> str:
        what = self.failure if self.cause is None else f"{self.cause} -> {self.failure}"
        verb = "may contradict" if self.undecided else "contradicts"
        other = (
            "its causes alone imply"
            if self.cause is None
            else f"{self.failure} has, of unnamed causes alone,"
        )
        return f"{what}: stated {self.stated:.3g} {verb} the rest; {other} {self.implied:.3g} ({self.method})"


@dataclass(frozen=True)
class Consistency:
    """What a check found.

    Attributes:
        findings: contradictions, gravest first.
        disagreements: experts far apart on the same thing.
        checked: number of stated occurrences with causes.
        looked_into: how many of them the bounds left open.
        undecided: how many stayed open.
    """

    findings: tuple[Finding, ...]
    disagreements: tuple[Disagreement, ...]
    checked: int
    looked_into: int
    undecided: int

    @property
    def consistent(self) -> bool:
        """Whether nothing certainly contradicts."""
        return all(finding.undecided for finding in self.findings)


def check_consistency(table: FailureTable, seed: int = 0) -> Consistency:
    """Compare every stated number of a valid table with what the others imply."""
    statements = combine(table)
    diez = as_diez(statements)
    certificate = certify(diez)
    settled = settle(diez, certificate, seed)
    bounds = {
        int(i): Implied(
            float(certificate.lower[i] + certificate.upper[i]) / 2,
            float(certificate.lower[i]),
            float(certificate.upper[i]),
            "certified",
        )
        for i in np.flatnonzero(certificate.inconsistent)
    }
    bounds |= {i: implied for i, implied in settled.items() if contradicts(statements.occurrence[i], implied)}
    still_open = [i for i, implied in settled.items() if is_open(statements.occurrence[i], implied)]
    bounds |= {i: settled[i] for i in still_open}
    findings = [_too_rare(table, statements, i, implied, i in still_open) for i, implied in bounds.items()]
    findings += [
        _too_weak(table, statements, edge, leak) for edge, leak in weak_relations(statements).items()
    ]
    return Consistency(
        findings=tuple(sorted(findings, key=lambda finding: (finding.undecided, -finding.factor))),
        disagreements=tuple(disagreements(table)),
        checked=int(np.sum(~np.isnan(statements.occurrence[np.unique(statements.effect)]))),
        looked_into=len(settled),
        undecided=len(still_open),
    )


def contradicts(stated: float, implied: Implied) -> bool:
    """Whether a stated occurrence is certainly below the implied one."""
    return bool(stated < implied.low * (1 - ROUNDING))


def weak_relations(statements: Statements) -> dict[int, float]:
    """Relations whose number, in Henrion's meaning, is smaller than the leak: their position, and that leak."""
    if statements.semantics == "diez":
        return {}
    leak = henrion_leaks(statements)[statements.effect]
    weak = np.flatnonzero(statements.trigger < leak * (1 - ROUNDING))
    return {int(edge): float(leak[edge]) for edge in weak}


def _too_rare(
    table: FailureTable, statements: Statements, i: int, implied: Implied, undecided: bool
) -> Finding:
    edges = np.arange(statements.first[i], statements.first[i + 1])
    shares = statements.trigger[edges] * np.nan_to_num(statements.occurrence[statements.cause[edges]])
    order = np.argsort(-shares, kind="stable")
    stated = float(statements.occurrence[i])
    alone = [
        statements.names[statements.cause[edges[k]]] for k in order if shares[k] > stated * (1 + ROUNDING)
    ]
    places = _places(table.failures[statements.failure_row[i]].occurrence)
    for k in order:
        places += _places(table.relations[statements.relation_row[edges[k]]].trigger)
    return Finding(
        kind="too rare",
        failure=statements.names[i],
        cause=None,
        stated=stated,
        implied=implied.value,
        low=implied.low,
        high=implied.high,
        method=implied.method,
        undecided=undecided,
        alone=tuple(alone),
        places=places,
    )


def _too_weak(table: FailureTable, statements: Statements, edge: int, leak: float) -> Finding:
    effect = int(statements.effect[edge])
    return Finding(
        kind="weaker than leak",
        failure=statements.names[effect],
        cause=statements.names[statements.cause[edge]],
        stated=float(statements.trigger[edge]),
        implied=leak,
        low=leak,
        high=float(statements.occurrence[effect]),
        method="certified",
        undecided=False,
        alone=(),
        places=_places(table.relations[statements.relation_row[edge]].trigger)
        + _places(table.failures[statements.failure_row[effect]].occurrence),
    )


def _places(opinions: tuple[Opinion, ...]) -> tuple[Place, ...]:
    return tuple(opinion.place for opinion in opinions)
