"""Orthonormal coordinates in which few say most: channel PCA times cosines, sorted by measured variance.

For orthonormal coordinates P and the length of what they leave out, ||x - z||^2 >= ||Px - Pz||^2 +
(||x_rest|| - ||z_rest||)^2: a reference whose bound exceeds the radius cannot be inside. Everything is computed in
float64, so that rounding is no issue beside a float32 radius.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

LEVELS = (64, 256, 512, 960)  # how many coordinates the bounds use, one after the other
SAMPLE = 2048  # references that the coordinates are fitted to
_OUTLIER = 4.0  # times the median length
_CLIP = 4.0  # standard deviations that int8 spans


@dataclass(frozen=True)
class Coordinates:
    """An orthonormal transform of references and the order of its outputs.

    Attributes:
        sample_shape: of a reference.
        centre: the origin, shape (D,), float64.
        rotation: of the channels, shape (C, C), float64.
        order: of all D outputs, by falling variance, shape (D,), int64.
        scales: size of an int8 step in each of the first `levels[-1]` outputs, float64.
    """

    sample_shape: tuple[int, ...]
    centre: torch.Tensor
    rotation: torch.Tensor
    order: torch.Tensor
    scales: torch.Tensor

    @property
    def levels(self) -> tuple[int, ...]:
        """Numbers of coordinates of the successive bounds."""
        return levels_of(len(self.order))

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """Coordinates of rows (M, D), sorted, shape (M, D), float64."""
        values = rows.to(torch.float64) - self.centre.to(rows.device)
        return _transform(values, self.sample_shape, self.rotation)[:, self.order.to(rows.device)]

    def tensors(self) -> dict[str, torch.Tensor]:
        """For saving; the sample shape is the set's own."""
        return {name: getattr(self, name) for name in ("centre", "rotation", "order", "scales")}


def levels_of(dimension: int) -> tuple[int, ...]:
    """The levels for references of D elements."""
    return (*(level for level in LEVELS[:-1] if level < dimension), min(dimension, LEVELS[-1]))


def fit_coordinates(rows: torch.Tensor, sample_shape: tuple[int, ...]) -> Coordinates:
    """Coordinates for references like these, shape (M, D)."""
    values = _without_outliers(rows.double())
    centre = values.mean(0)
    values = values - centre
    channels = values.view(len(values), *sample_shape)
    if len(sample_shape) == 1:
        rotation = torch.ones(1, 1, dtype=torch.float64)
    else:
        channels = channels.movedim(_channel_axis(sample_shape) + 1, -1).reshape(-1, _channels(sample_shape))
        rotation = torch.linalg.eigh(channels.T @ channels)[1].T.contiguous()
    deviation = _transform(values, sample_shape, rotation).square().mean(0).sqrt()
    order = deviation.argsort(descending=True, stable=True)
    kept = deviation[order][: levels_of(len(order))[-1]]
    floor = float(kept[0]) * 1e-6 or 1.0
    return Coordinates(sample_shape, centre, rotation, order, kept.clamp_min(floor) * _CLIP / 127)


def _without_outliers(rows: torch.Tensor) -> torch.Tensor:
    """A few references of extreme length must not set the steps of all others."""
    length = (rows - rows.median(0).values).norm(dim=1)
    return rows[length <= _OUTLIER * length.median()]


def _transform(values: torch.Tensor, shape: tuple[int, ...], rotation: torch.Tensor) -> torch.Tensor:
    """Rotate the channels, take cosines along every other axis; (M, D) to (M, D)."""
    if len(shape) == 1:
        return values
    channel = _channel_axis(shape)
    for axis, size in enumerate(shape):
        matrix = (rotation if axis == channel else _cosines(size)).to(values.device)
        after = math.prod(shape[axis + 1 :])
        last = after == 1  # as one product instead of many with vectors
        values = values.reshape(-1, size) @ matrix.T if last else matrix @ values.reshape(-1, size, after)
    return values.reshape(-1, math.prod(shape))


def _channel_axis(shape: tuple[int, ...]) -> int:
    """First of (C, H, W), last of packed (tokens, C)."""
    return 1 if len(shape) == 2 else 0


def _channels(shape: tuple[int, ...]) -> int:
    return shape[_channel_axis(shape)]


@lru_cache
def _cosines(size: int) -> torch.Tensor:
    """Orthonormal DCT-II matrix."""
    position = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * (position[None, :] + 0.5) * position[:, None]) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix
