"""References as int8 coordinates that know their own error: bounds that rounding cannot break.

Of a reference, level k keeps its first k coordinates rounded to int8 steps, the length of the rest, and how far
these numbers are from the truth. With a query's coordinates q and residual length s,

    distance >= sqrt(||q - z8||^2 + (s - rest)^2) - error

so a reference can be inside the radius r only if q.z8 + s*rest >= (|q|^2 + s^2 + |z8|^2 + rest^2 - (r + error)^2) / 2.
The right side is lowered by more than float32 arithmetic can be wrong by (Higham 2002, section 3.1).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from .spell_coordinates import Coordinates

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
        weights: coordinates times the size of a step, shape (B, levels[-1]), float32.
        rest: length of what the level leaves out, shape (L, B), float32.
        half: (|q|^2 + rest^2) / 2, lowered, shape (L, B), float64.
    """

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
    kept = exact[:, : coordinates.levels[-1]]
    scales = coordinates.scales.to(rows.device)
    steps = (kept / scales).round().clamp(-127, 127)
    rounded = steps * scales
    wrong, size = (kept - rounded).square(), rounded.square()
    half, rest, error = [], [], []
    for level in coordinates.levels:
        true_rest = exact[:, level:].square().sum(1).sqrt()
        stored_rest = true_rest.float()
        rest.append(stored_rest)
        off = (wrong[:, :level].sum(1) + (true_rest - stored_rest.double()).square()).sqrt()
        error.append((off * (1 + 2.0**-20) + true_rest * 2.0**-40).float())
        half.append((_lowered(size[:, :level].sum(1) + stored_rest.double().square(), level)).float())
    return Quantised(steps.to(torch.int8), torch.stack(half), torch.stack(rest), torch.stack(error))


def prepare(queries: torch.Tensor, coordinates: Coordinates) -> PreparedQueries:
    """Queries (B, D) for the bounds. Their own rounding to float32 is within the allowance."""
    exact = coordinates.of(queries)
    kept = exact[:, : coordinates.levels[-1]] * coordinates.scales.to(queries.device)
    rest = torch.stack([exact[:, level:].square().sum(1).sqrt() for level in coordinates.levels])
    size = torch.stack([exact[:, :level].square().sum(1) for level in coordinates.levels]) + rest.square()
    half = torch.stack([_lowered(s, level) for s, level in zip(size, coordinates.levels, strict=True)])
    return PreparedQueries(kept.float(), rest.float(), half)


def _lowered(squared: torch.Tensor, level: int) -> torch.Tensor:
    """Half of a squared length, less what a float32 dot product of so many terms may be wrong by.

    |fl(q.z) - q.z| <= (k + 2) u |q||z| <= (k + 2) u (|q|^2 + |z|^2) / 2: each side takes its own part, doubled, and
    room for the few sums after it.
    """
    return squared * (0.5 - (level + 32) * _UNIT)
