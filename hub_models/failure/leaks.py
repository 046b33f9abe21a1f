"""The leak of each failure: what its stated occurrence leaves over for causes that nobody named."""

from __future__ import annotations

import numpy as np

from .certificates import Certificate
from .statements import Statements

_HALVINGS = 40


def least_leaks(statements: Statements, certificate: Certificate) -> np.ndarray:
    """Leaks that give each failure its stated occurrence if its causes are independent, at or below the exact ones.

    A failure that is stated too rare, or not at all, gets leak 0.

    Returns:
        shape (n,), in [0, 1].
    """
    return _leaks(statements, certificate, np.ones(len(statements.names)))


def leaks(statements: Statements, certificate: Certificate) -> np.ndarray:
    """As `least_leaks`, with the causes' dependence taken from the lower bound on what they imply.

    That bound is nearly sharp where failures are rare: stated occurrences come out within a few per mille.
    """
    silent = np.maximum(1 - certificate.upper, 1e-16)
    return _leaks(statements, certificate, np.maximum(1.0, (1 - certificate.lower) / silent))


def _leaks(statements: Statements, certificate: Certificate, dependence: np.ndarray) -> np.ndarray:
    """``dependence``: P(no cause triggers) over what it were for independent causes, shape (n,), >= 1."""
    stated = np.where(np.isnan(statements.occurrence), 0.0, statements.occurrence)
    if statements.semantics == "henrion":
        given = 1 - np.minimum((1 - stated) / dependence, 1.0)
        cause_occurrence = certificate.marginal_high[statements.cause]
        return henrion_leak(given, statements.effect, statements.trigger, cause_occurrence)
    silent = np.maximum(1 - certificate.upper, 1e-16) * dependence
    return np.clip(1 - (1 - stated) / silent, 0.0, 1.0)


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
