"""Ways out of a union of balls of one radius.

For a point inside several balls, `offsets` are the point minus each centre, shape (M, D) in float64.
"""

from __future__ import annotations

import math

import numpy as np
import torch

_BUDGETS = 32
_DIRECTIONS = 16


def ray_exit(offsets: torch.Tensor, direction: torch.Tensor, radius: float) -> float:
    """How far to go along a unit direction (D,) to be outside every ball, for good: 0 if outside already.

    A ray leaves a ball once: at -w.u + sqrt((w.u)^2 + r^2 - |w|^2) for an offset w and a direction u.
    """
    along = offsets @ direction
    room = radius**2 - offsets.square().sum(1)
    leaves = -along + (along.square() + room).clamp_min(0).sqrt()
    return float(torch.where(room > 0, leaves, 0.0).max())


def smallest_exit(offsets: torch.Tensor, radius: float, seed: int = 0) -> torch.Tensor:
    """A short way out of all balls at once, also from where they push into each other.

    A displacement is a part p in the span of the offsets and a part of length t across it, along which all
    distances grow alike. It leaves every ball iff 2 p.w_k + |p|^2 + t^2 >= r^2 - |w_k|^2 for all k, so the
    smallest has the squared length min_p max(|p|^2, max_k (r^2 - |w_k|^2 - 2 p.w_k)): a convex problem, although
    the outside of the balls is not convex. For a grid of squared lengths s, Hildreth's method finds the shortest
    p with 2 p.w_k >= r^2 - |w_k|^2 - s; the best p is taken, and t is computed from exact distances, so the
    result is outside whatever the accuracy of p. Where no dimension is left across, a few rays are tried.

    Args:
        offsets: shape (M, D), float64.
        radius: of every ball.
        seed: for the direction across the span, which is noise.

    Returns:
        The displacement, shape (D,), float64.
    """
    w = offsets.detach().cpu().numpy()
    within = _part_in_span(w, radius)
    missing = radius**2 - np.square(w + within).sum(1).min()
    if missing > 0:
        across = _direction_across(w, seed)
        if across is None:
            return _shortest_ray(offsets, radius, seed)
        within = within + math.sqrt(missing) * across
    return torch.from_numpy(within).to(offsets.device)


def _part_in_span(w: np.ndarray, radius: float) -> np.ndarray:
    gram = w @ w.T
    needs = radius**2 - np.diag(gram)
    budgets = np.linspace(1 / _BUDGETS, 1, _BUDGETS) * max(needs.max(), 0)
    weights = np.zeros((_BUDGETS, len(w)))
    for _ in range(max(8, 2000 // len(w))):
        for k in np.flatnonzero(np.diag(gram) > 0):
            gap = (needs[k] - budgets) / 2 - weights @ gram[:, k]
            weights[:, k] = np.maximum(0, weights[:, k] + gap / gram[k, k])
    products = weights @ gram
    lengths = (products * weights).sum(1)
    squared = np.maximum(lengths, (needs - 2 * products).max(1))
    return weights[int(squared.argmin())] @ w


def _direction_across(w: np.ndarray, seed: int) -> np.ndarray | None:
    """A unit direction orthogonal to all offsets, or None where they leave no room for one."""
    if len(w) >= w.shape[1]:
        return None
    noise = np.random.default_rng(seed).standard_normal(w.shape[1])
    basis = np.linalg.qr(w.T)[0]
    for _ in range(2):  # twice is enough (Kahan)
        noise -= basis @ (basis.T @ noise)
    return noise / np.linalg.norm(noise)


def _shortest_ray(offsets: torch.Tensor, radius: float, seed: int) -> torch.Tensor:
    rays = np.random.default_rng(seed).standard_normal((_DIRECTIONS, offsets.shape[1]))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    directions = torch.from_numpy(rays).to(offsets.device)
    lengths = [ray_exit(offsets, direction, radius) for direction in directions]
    best = int(np.argmin(lengths))
    return lengths[best] * directions[best]
