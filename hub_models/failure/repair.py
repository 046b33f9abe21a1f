"""Mending contradictions: the closest numbers, weighted by trust, that fit together.

Minimise sum_k trust_k (logit new_k - logit old_k)^2 over all experts' numbers k, subject to every failure being as
frequent as its causes imply (taken as independent, which is the safe side). Only numbers that take part in a violated
condition, at first or after others have moved, may move; all others keep every bit, and so do those that a person
wants to keep.

Two ways to choose the numbers are known, `optimised` (here: real numbers) and `repair_genetic.evolved` (ratings).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import FailureTableError
from ..noisy_or_checks import listed
from .certificates import certify
from .confirmation import is_open, settle
from .consistency import contradicts, weak_relations
from .constraints import Constraint, filled, too_rare, weaker_than_leak
from .kept_numbers import check_kept, movable
from .leaks import as_diez
from .ratings import SMALLEST, logit
from .records import FailureTable, Opinion
from .statements import Statements, combine

#: From the original table, the conditions that must hold and the numbers to keep to the table with new numbers.
Solver = Callable[[FailureTable, Sequence[Constraint], frozenset[str]], FailureTable]
_Conditions = dict[tuple[str, int], Constraint]

#: Of the largest move in a condition: moves below that are not worth an expert's signature.
NEGLIGIBLE = 0.1

_MOST_ROUNDS = 50
_MOST_STEPS, _MOST_CORRECTIONS = 200, 20
#: Conditions are met with this to spare, which rounding cannot eat up; below `certificates.ROUNDING`.
_SPARE = 1e-10


@dataclass(frozen=True)
class Repair:
    """A table before and after.

    Attributes:
        before, after: tables that differ in numbers of experts only.
        constraints: the conditions that were violated, before or in between.
    """

    before: FailureTable
    after: FailureTable
    constraints: tuple[Constraint, ...]

    @property
    def distance(self) -> float:
        """What was minimised: squared change of log-odds, weighted by trust."""
        return distance(self.before, self.after)


def repair(
    table: FailureTable, solver: Solver | None = None, seed: int = 0, keep: Collection[str] = ()
) -> Repair:
    """Mend a valid table; one without contradictions comes back as it is.

    Args:
        solver: how new numbers are chosen; `optimised` if None.
        seed: of the samples that look into what bounds leave open.
        keep: numbers that must not change, see `kept_numbers`; others then have to give way.

    Raises:
        FailureTableError: unknown numbers to keep; contradictions that the solver does not get rid of.
    """
    solve, kept = solver or optimised, check_kept(table, keep)
    current, statements = table, combine(table)
    may_move = movable(statements, kept)
    violated, open_before = _violated(statements, seed)
    active: _Conditions = {}
    for _ in range(_MOST_ROUNDS):
        stuck = [
            each for each in violated.values() if not may_move[_involved(each, len(statements.names))].any()
        ]
        if violated.keys() <= active.keys() or stuck:
            break
        active |= violated
        current = solve(table, tuple(active.values()), kept)
        violated, doubtful = _violated(combine(current), seed)
        # What a repair brings so close to its bounds that nobody can tell is mended too.
        violated |= {key: doubtful[key] for key in doubtful.keys() - open_before.keys() - active.keys()}
    if not violated:
        return Repair(table, current, tuple(active.values()))
    left = listed(sorted({statements.names[each.effect] for each in violated.values()}))
    way_out = (
        "let one of the numbers change that are to be kept"
        if kept
        else "mend the gravest by hand, or repair with probabilities instead of ratings"
    )
    raise FailureTableError(f"the contradictions about {left} cannot be mended; {way_out}")


def optimised(
    table: FailureTable, constraints: Sequence[Constraint], kept: frozenset[str] = frozenset()
) -> FailureTable:
    """The closest probabilities that meet the conditions, but for changes that no expert would notice.

    The very closest point moves every number of a condition, most of them by next to nothing. Numbers that move by
    less than ``NEGLIGIBLE`` of the largest move in each of their conditions are put back, the others find the closest
    point once more: a few per cent further away, with far fewer changes to sign.
    """
    statements = combine(table)
    n = len(statements.names)
    start = _logits(np.concatenate([np.nan_to_num(statements.occurrence), statements.trigger]))
    free = movable(statements, kept)
    point = _closest(statements, constraints, start, free)
    shift, needed = point - start, np.zeros_like(free)
    for each in constraints:
        part = _involved(each, n)
        needed[part] |= np.abs(shift[part]) >= NEGLIGIBLE * np.abs(shift[part]).max()
    with_fewer = _closest(statements, constraints, start, free & needed)
    if _excess(constraints, *_probabilities(statements, with_fewer)).max() <= 0:
        point = with_fewer
    shift = np.where(np.abs(point - start) > 1e-12, point - start, 0.0)
    return shifted(table, statements, shift[:n], shift[n:])


def _closest(
    statements: Statements, constraints: Sequence[Constraint], start: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """The closest log-odds that meet the conditions, shape (n + m,): occurrences, then triggers.

    Sequential quadratic programming: linearise the conditions, go to the closest point, repeat. The curvature of a
    condition, a sum of exponentials, is bounded by its gradient: added to the metric, it keeps steps from running to
    and fro. The metric stays diagonal, so each step is a small problem over the multipliers of the conditions alone.

    Args:
        start: the log-odds as stated.
        free: which of them may move.
    """
    columns = np.unique(np.concatenate([_involved(each, len(statements.names)) for each in constraints]))
    trust = np.concatenate([statements.occurrence_trust, statements.trigger_trust])[columns]
    moves, origin, point = free[columns], start[columns], start.copy()
    curvature, multipliers = np.zeros(len(columns)), np.zeros(len(constraints))
    for _ in range(_MOST_STEPS):
        excess, rows = _linearised(statements, constraints, point, columns)
        metric = np.where(moves, trust + curvature, 1.0)
        centre = np.where(moves, (trust * origin + curvature * point[columns]) / metric, origin)
        inverse = moves / metric
        multipliers = _multipliers(rows, inverse, rows @ (point[columns] - centre) - excess, multipliers)
        target = np.clip(centre - inverse * (multipliers @ rows), logit(SMALLEST), -logit(SMALLEST))
        step = np.clip(target - point[columns], -2.0, 2.0)  # further out the linear picture does not hold
        point[columns] += step
        curvature = multipliers @ np.abs(rows)
        if np.abs(step).max() < _SPARE:
            break
    inverse = moves / np.where(moves, trust, 1.0)
    for _ in range(_MOST_CORRECTIONS):  # steps along the curvature come close slowly: Newton's do the rest
        excess, rows = _linearised(statements, constraints, point, columns)
        if excess.max() <= _SPARE:
            break
        step = inverse * (_multipliers(rows, inverse, -excess, multipliers) @ rows)
        point[columns] = np.clip(point[columns] - step, logit(SMALLEST), -logit(SMALLEST))
    return point


def _linearised(
    statements: Statements, constraints: Sequence[Constraint], point: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Excess of each condition with ``_SPARE``, shape (k,), and its gradient, shape (k, len(columns))."""
    occurrence, trigger = _probabilities(statements, point)
    rows = [np.concatenate(each.gradient(occurrence, trigger))[columns] for each in constraints]
    return _excess(constraints, occurrence, trigger) + _SPARE, np.stack(rows)


def _probabilities(statements: Statements, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Occurrences, those filled in that nobody states, and triggers."""
    probability = _sigmoid(point)
    trigger = probability[len(statements.names) :]
    return filled(statements, probability[: len(statements.names)], trigger), trigger


def _excess(constraints: Sequence[Constraint], occurrence: np.ndarray, trigger: np.ndarray) -> np.ndarray:
    return np.array([each.excess(occurrence, trigger) for each in constraints])


def _involved(constraint: Constraint, n: int) -> np.ndarray:
    """Positions, among n occurrences and then the triggers, of the numbers that a condition is about."""
    return np.concatenate([[constraint.effect], constraint.causes, n + constraint.edges])


def shifted(
    table: FailureTable, statements: Statements, by_failure: np.ndarray, by_relation: np.ndarray
) -> FailureTable:
    """Move log-odds of each failure's occurrence, shape (n,), and each relation's trigger, shape (m,).

    All experts of a number move by the same: so their pooled number moves by as much, at the least cost.
    """
    failures, relations = list(table.failures), list(table.relations)
    for i in np.flatnonzero(by_failure):
        row = statements.failure_row[i]
        failures[row] = replace(failures[row], occurrence=_moved(failures[row].occurrence, by_failure[i]))
    for edge in np.flatnonzero(by_relation):
        row = statements.relation_row[edge]
        relations[row] = replace(relations[row], trigger=_moved(relations[row].trigger, by_relation[edge]))
    return replace(table, failures=tuple(failures), relations=tuple(relations))


def distance(before: FailureTable, after: FailureTable) -> float:
    """Squared change of log-odds over all experts' numbers, each weighted by its trust."""
    total = 0.0
    for old, new in zip(opinions_of(before), opinions_of(after), strict=True):
        if old is not new:
            total += old.trust * (logit(new.probability) - logit(old.probability)) ** 2
    return total


def opinions_of(table: FailureTable) -> list[Opinion]:
    """All numbers of all experts: those of failures, then those of relations, in the order of the table."""
    numbers = [opinion for failure in table.failures for opinion in failure.occurrence]
    return numbers + [opinion for relation in table.relations for opinion in relation.trigger]


def _violated(statements: Statements, seed: int) -> tuple[_Conditions, _Conditions]:
    """Conditions that are certainly violated, and those that may be."""
    diez = as_diez(statements)
    certificate = certify(diez)
    settled = settle(diez, certificate, seed)
    certain = np.flatnonzero(certificate.inconsistent).tolist()
    certain += [i for i, implied in settled.items() if contradicts(statements.occurrence[i], implied)]
    doubtful = [i for i, implied in settled.items() if is_open(statements.occurrence[i], implied)]
    violated: _Conditions = {("failure", i): too_rare(statements, i) for i in certain}
    for edge in weak_relations(statements):
        violated["relation", edge] = weaker_than_leak(statements, edge)
    return violated, {("failure", i): too_rare(statements, i) for i in doubtful}


def _multipliers(rows: np.ndarray, inverse: np.ndarray, bound: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Of the closest point y with rows @ y <= bound, in the metric 1 / inverse: a linear complementarity problem.

    Block principal pivoting (Judice and Pires 1994): all conditions on the wrong side change it at once; should that
    not end, one at a time (Murty 1974), which must.
    """
    gram = (rows * inverse) @ rows.T
    gram[np.diag_indices_from(gram)] += 1e-13 * np.trace(gram) / len(gram) + 1e-300
    active = guess > 0
    for pivots in range(100 + 10 * len(bound)):
        multipliers = np.zeros(len(bound))
        multipliers[active] = np.linalg.solve(gram[np.ix_(active, active)], -bound[active])
        wrong = np.where(active, multipliers < 0, gram @ multipliers + bound < -1e-14)
        if not wrong.any():
            break
        if pivots >= 50:
            wrong[: np.flatnonzero(wrong)[-1]] = False
        active ^= wrong
    return np.maximum(multipliers, 0.0)


def _moved(opinions: tuple[Opinion, ...], shift: float) -> tuple[Opinion, ...]:
    """Shifted, and rounded to the digits that a spreadsheet keeps."""
    logits = np.array([logit(each.probability) + shift for each in opinions])
    return tuple(
        replace(each, probability=float(f"{new:.12g}"), rating=None)
        for each, new in zip(opinions, _sigmoid(logits), strict=True)
    )


def _logits(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, SMALLEST, 1 - SMALLEST)
    return np.log(clipped / (1 - clipped))


def _sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))
