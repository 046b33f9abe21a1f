"""References as int8 coordinates that know their own error: bounds that rounding cannot break.

Of a reference, level k keeps its first k coordinates rounded to int8 steps, the length of the rest, and how far
these numbers are from the truth. With a query's coordinates q and residual length s,

    distance >= sqrt(||q - z8||^2 + (s - rest)^2) - error

so a reference can be inside the radius r only if q.z8 + s*rest >= (|q|^2 + s^2 + |z8|^2 + rest^2 - (r + error)^2) / 2.
The right side is lowered by more than float32 arithmetic can be wrong by (Higham 2002, section 3.1).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch

from .spell_coordinates import Coordinates

LANES = 16  # references side by side in a tile: one vector register of float32
_UNIT = 2.0**-24  # float32


class Quantised(NamedTuple):
    """Some references; L levels.

    Attributes:
        steps: shape (N, levels[-1]), int8.
        half: (|z8|^2 + rest^2) / 2, lowered, shape (L, N), float32.
        rest: length of what the level leaves out, shape (L, N), float32.
        error: distance of (z8, rest) from the truth, raised, shape (L, N), float32.
    """

    steps: torch.Tensor
    half: torch.Tensor
    rest: torch.Tensor
    error: torch.Tensor


class PreparedQueries(NamedTuple):
    """Queries in the form that the bounds want.

    Attributes:
        exact: all coordinates, shape (B, D), float64.
        weights: coordinates times the size of a step, shape (B, levels[-1]), float32.
        rest: length of what the level leaves out, shape (L, B), float32.
        half: (|q|^2 + rest^2) / 2, lowered, shape (L, B), float64.
    """

    exact: torch.Tensor
    weights: torch.Tensor
    rest: torch.Tensor
    half: torch.Tensor

    def thresholds(self, radius: torch.Tensor) -> torch.Tensor:
        """What q.z8 + s*rest - half + error * (r + error / 2) must reach, shape (L, B), float32.

        Args:
            radius: for each query, shape (B,), float64.
        """
        value = self.half - radius.square() * (0.5 + 2.0**-20)
        return (value - value.abs() * 2.0**-22).float()


def quantise(rows: torch.Tensor, coordinates: Coordinates) -> Quantised:
    """Int8 form of rows (N, D)."""
    exact = coordinates.of(rows)
    levels = coordinates.levels
    kept = exact[:, : levels[-1]]
    scales = coordinates.scales.to(rows.device)
    steps = (kept / scales).round_().clamp_(-127, 127)
    rounded = steps * scales
    size, wrong = _heads(rounded, levels), _heads(kept - rounded, levels)
    true_rest = _rests(exact, levels)
    rest = true_rest.float()
    error = (wrong + (true_rest - rest.double()).square()).sqrt() * (1 + 2.0**-20) + true_rest * 2.0**-40
    half = _lowered(size + rest.double().square(), levels)
    return Quantised(steps.to(torch.int8), half.float(), rest, error.float())


def prepare(queries: torch.Tensor, coordinates: Coordinates) -> PreparedQueries:
    """Queries (B, D) for the bounds. Their own rounding to float32 is within the allowance."""
    exact = coordinates.of(queries)
    levels = coordinates.levels
    weights = exact[:, : levels[-1]] * coordinates.scales.to(queries.device)
    rest = _rests(exact, levels)
    half = _lowered(_heads(exact, levels) + rest.square(), levels)
    return PreparedQueries(exact, weights.float(), rest.float(), half)


def _heads(values: torch.Tensor, levels: tuple[int, ...]) -> torch.Tensor:
    """Squared length of what each level keeps, shape (L, N)."""
    parts = [values[:, first:last].square().sum(1) for first, last in pairwise((0, *levels))]
    return torch.stack(parts).cumsum(0)


def _rests(values: torch.Tensor, levels: tuple[int, ...]) -> torch.Tensor:
    """Length of what each level leaves out, shape (L, N)."""
    parts = [values[:, first:last].square().sum(1) for first, last in pairwise((*levels, values.shape[1]))]
    return torch.stack(parts).flip(0).cumsum(0).flip(0).sqrt()


def _lowered(squared: torch.Tensor, levels: tuple[int, ...]) -> torch.Tensor:
    """Half of squared lengths (L, N), less what a float32 dot product of so many terms may be wrong by.

    |fl(q.z) - q.z| <= (k + 2) u |q||z| <= (k + 2) u (|q|^2 + |z|^2) / 2: each side takes its own part, doubled, and
    room for the few sums after it.
    """
    terms = torch.tensor(levels, dtype=torch.float64, device=squared.device)
    return squared * (0.5 - (terms[:, None] + 32) * _UNIT)
