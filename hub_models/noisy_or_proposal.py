"""What the backward sampler expects before it draws: marginals, who comes with whom, and a tilt. Published code.

None of it has to be right: the sampler's weights correct every approximation here. Better guesses only mean more
effective samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .noisy_or import NoisyOr
from .noisy_or_evidence import Case

_SWEEPS, _DAMPING = 20, 0.3
_SMALLEST_TILT = -50.0


@dataclass(frozen=True, eq=False)
class Proposal:
    """Guesses for the n informed failures of B cases on one network.

    Attributes:
        marginal: (n,) P(X_i = 1).
        excess: (n, n + 1) float32, ``excess[m, r]`` = max(0, P(X_m = 1 | X_r = 1) - P(X_m = 1)); the last column
            is 0 and stands for no failure.
        tilt: (B, n) log-ratio of the chance of the absent evidence with failure i present and without; 0 on
            evidence.
    """

    marginal: np.ndarray
    excess: np.ndarray
    tilt: np.ndarray


def propose(cases: list[Case]) -> Proposal:
    """Tilt from absent evidence, then marginals and pairs in topological order; O(edges * n) time, n^2 memory.

    Marginals and pairs know the absent evidence of a single case; several cases share those without evidence.
    """
    n = cases[0].informed
    if not n:
        return Proposal(np.zeros(0), np.zeros((0, 1), dtype=np.float32), np.zeros((len(cases), 0)))
    network = cases[0].causes_only.network
    present, absent = (
        np.stack([getattr(case, field)[:n] for case in cases]) for field in ("present", "absent")
    )
    tilt = absent_tilt(network, present, absent)
    alone = len(cases) == 1
    marginal, excess = _pairs(
        network, tilt[0] if alone else np.zeros(n), cases[0].possible[:n] if alone else np.ones(n, dtype=bool)
    )
    return Proposal(marginal, excess, tilt)


def absent_tilt(network: NoisyOr, present: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """(B, n) log-ratios by loopy belief propagation (Pearl, 1988), the absent failures (B, n) alone as evidence.

    Present failures (B, n) cut the messages that would pass them upwards.
    """
    if not absent.any() or not len(network.cause):
        return np.zeros(absent.shape)
    cause, effect = torch.tensor(network.cause), torch.tensor(network.effect)
    q, log_no_leak = torch.tensor(network.trigger), torch.tensor(-network.leak).clamp_min(-1 + 1e-16).log1p()
    on, off = torch.tensor(present), torch.tensor(absent)
    heard = ~(on | off)
    heard_cause = heard[:, cause]
    known = on.double()
    upward = torch.zeros(len(on), len(cause), dtype=torch.float64)  # from effects to causes, log-ratios
    belief = torch.where(heard, torch.tensor(network.leak), known)[:, cause]  # from causes to effects
    for _ in range(_SWEEPS):
        silent = (-q * belief).clamp_min(-1 + 1e-16).log1p()
        log_off = _sum_by(effect, silent, on.shape) + log_no_leak
        tilt = torch.where(heard, _sum_by(cause, upward, on.shape), 0.0)
        ratio = torch.where(heard, tilt.exp(), known)[:, effect]
        others_off = (log_off[:, effect] - silent).exp()
        with_cause = ratio + (1 - ratio) * (1 - q) * others_off
        without = ratio + (1 - ratio) * others_off
        new = with_cause.clamp_min(1e-300).log() - without.clamp_min(1e-300).log()
        upward = _DAMPING * upward + (1 - _DAMPING) * new
        raised = -log_off[:, cause].expm1() * (tilt[:, cause] - upward).exp()
        belief = torch.where(heard_cause, raised / (raised + log_off[:, cause].exp()), known[:, cause])
    tilt = _sum_by(cause, upward, on.shape).clamp_min(_SMALLEST_TILT)
    return torch.where(heard, tilt, 0.0).numpy()


def _sum_by(index: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64).index_add_(1, index, values)


def _pairs(network: NoisyOr, tilt: np.ndarray, possible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Marginals (n,) and the excess over them of P(X_a = 1 | X_b = 1), as if causes were independent given b."""
    n = len(network)
    marginal, pair = np.zeros(n), np.zeros((n, n + 1), dtype=np.float32)
    first, cause, trigger = network.first.tolist(), network.cause, network.trigger
    for i in range(n):
        if not possible[i]:
            continue
        causes, q = cause[first[i] : first[i + 1]], trigger[first[i] : first[i + 1]]
        no_leak = 1 - network.leak[i]
        marginal[i] = _tilted(1 - no_leak * np.prod(1 - q * marginal[causes]), tilt[i])
        row = np.full(i, no_leak, dtype=np.float32)
        for c, p in zip(causes.tolist(), q.astype(np.float32), strict=True):
            row *= 1 - p * pair[c, :i]
        row = _tilted(1 - row, tilt[i]).astype(np.float32) if tilt[i] else 1 - row
        pair[i, :i] = row
        ratio = np.minimum(marginal[:i] / max(marginal[i], 1e-300), 1e30).astype(np.float32)
        pair[:i, i] = np.minimum(1, row * ratio)
        pair[i, i] = 1
    pair -= marginal[:, None].astype(np.float32)  # in place: the largest array there is
    np.maximum(pair, 0, out=pair)
    pair[:, n] = 0
    return marginal, pair


def _tilted(p: np.ndarray, log_ratio: float) -> np.ndarray:
    """Probability whose odds are multiplied by exp(log_ratio)."""
    raised = p * np.exp(log_ratio)
    return raised / (raised + (1 - p))
