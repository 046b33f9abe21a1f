"""The leak of each failure: what its stated occurrence leaves over for causes that nobody named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .certificates import Certificate
from .statements import Statements

_HALVINGS = 40


def as_diez(statements: Statements) -> Statements:
    """The same statements with Diez's q for every relation: Henrion's w less what it has of the leak.

    The leak is that of `henrion_leaks`; where none fits it is 0, and q is w.
    """
    if statements.semantics == "diez":
        return statements
    leak = henrion_leaks(statements)
    return replace(
        statements, trigger=diez_trigger(statements.trigger, leak[statements.effect]), semantics="diez"
    )


def henrion_leaks(statements: Statements) -> np.ndarray:
    """Leaks that give each failure its stated occurrence if its causes are independent, in Henrion's meaning.

    Dependent causes trigger together, so that these leaks are at or below the exact ones. A failure that is stated too
    rare, or not at all, gets leak 0.

    Returns:
        shape (n,), in [0, 1].
    """
    occurrence = statements.occurrence.copy()
    first = statements.first
    for i in np.flatnonzero(np.diff(first) > 0):
        edges = slice(first[i], first[i + 1])
        silent = np.prod(1 - statements.trigger[edges] * occurrence[statements.cause[edges]])
        occurrence[i] = np.fmax(statements.occurrence[i], 1 - silent)
    stated = np.nan_to_num(statements.occurrence)
    return henrion_leak(stated, statements.effect, statements.trigger, occurrence[statements.cause])


def leaks(statements: Statements, certificate: Certificate) -> np.ndarray:
    """Leaks that give each failure its stated occurrence.

    What the causes imply is taken from its lower bound, nearly sharp where failures are rare: in the network stated
    occurrences come out within a few per mille. A failure that is stated too rare, or not at all, gets leak 0.

    Args:
        statements: in Diez's meaning (see `as_diez`).
        certificate: of these.

    Returns:
        shape (n,), in [0, 1].
    """
    stated = np.nan_to_num(statements.occurrence)
    return np.clip(1 - (1 - stated) / np.maximum(1 - certificate.lower, 1e-16), 0.0, 1.0)


def henrion_leak(
    stated: np.ndarray, effect: np.ndarray, trigger: np.ndarray, cause_occurrence: np.ndarray
) -> np.ndarray:
    """Solve (1 - l) prod_j (1 - q_j o_j) = 1 - o for l, where q_j = max(0, (w_j - l) / (1 - l)), by halving.

    Args:
        stated: o, shape (..., n).
        effect: shape (m,), which failure each relation leads to.
        trigger: w, shape (..., m).
        cause_occurrence: o_j of each relation's cause, shape (..., m).

    Returns:
        shape (..., n); 0 where even l = 0 is too much.
    """
    low, high = np.zeros_like(stated), stated.copy()
    target = _log1m(stated)
    membership = effect[:, None] == np.arange(stated.shape[-1]) if stated.ndim > 1 else None
    for _ in range(_HALVINGS):
        leak = (low + high) / 2
        q = diez_trigger(trigger, leak[..., effect])
        logs = _log1m(q * cause_occurrence)
        total = (
            np.bincount(effect, logs, stated.shape[-1])
            if membership is None
            else logs @ membership.astype(float)
        )
        enough = _log1m(leak) + total <= target  # the failure is at least as frequent as stated
        high = np.where(enough, leak, high)
        low = np.where(enough, low, leak)
    return low


def diez_trigger(trigger: np.ndarray, leak: np.ndarray) -> np.ndarray:
    """Henrion's number w as Diez's q = (w - l) / (1 - l); at least 0."""
    return np.maximum(trigger - leak, 0.0) / np.maximum(1 - leak, 1e-16)


def _log1m(value: np.ndarray) -> np.ndarray:
    return np.log1p(-np.minimum(value, 1 - 1e-16))
