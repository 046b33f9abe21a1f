"""What `reference_search.py` searches: synthetic references, trajectories of queries, and the truth.

References are Gaussian in the cosine basis of (4, side, side) latents, with a power-law spectrum that puts 53 % of the
energy into the first 256 dimensions (a steep spectrum would be won trivially) and log-normal contrast. Among them are
duplicates, zero vectors and the extremes of fp16. Queries are the Wiener posterior means E[z | z + sigma * noise]
along 50 steps from pure noise to the target, a quarter of the targets being references.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

CHANNELS, KEPT, ENERGY = 4, 256, 0.53
CONTRAST = 0.3  # standard deviation of its logarithm
BATCH, STEPS = 8, 50
SPECIAL = 256  # references at the beginning that are planted


def spectrum(dimension: int) -> torch.Tensor:
    """Variances of the coordinates by frequency, mean 0.25: `ENERGY` of it in the first `KEPT` of them."""
    rank = torch.arange(1, dimension + 1, dtype=torch.float64)
    low, high = 0.0, 3.0
    for _ in range(60):
        power = (low + high) / 2
        variance = rank**-power
        low, high = (power, high) if float(variance[:KEPT].sum() / variance.sum()) < ENERGY else (low, power)
    return variance / variance.mean() * 0.25


@dataclass
class Latents:
    """References made when they are read; a block is the same each time."""

    count: int
    side: int = 32
    block: int = 4096
    variance: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        side = torch.arange(self.side)
        frequency = (side[:, None] ** 2 + side**2).float().sqrt()[None] + torch.arange(CHANNELS)[
            :, None, None
        ] * 0.01
        order = frequency.flatten().argsort()
        self.variance = torch.empty(self.dimension, dtype=torch.float64)
        self.variance[order] = spectrum(self.dimension)
        position = torch.arange(self.side, dtype=torch.float64)
        cosines = torch.cos(math.pi / self.side * (position + 0.5) * position[:, None]) * math.sqrt(
            2 / self.side
        )
        cosines[0] /= math.sqrt(2)
        self._cosines = cosines.float()

    @property
    def dimension(self) -> int:
        return CHANNELS * self.side**2

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: slice) -> torch.Tensor:
        start, stop, _ = rows.indices(self.count)
        first = start // self.block
        blocks = [self._block(number) for number in range(first, -(-stop // self.block))]
        return torch.cat(blocks)[start - first * self.block : stop - first * self.block]

    def pixels(self, coefficients: torch.Tensor) -> torch.Tensor:
        """From coordinates (M, D) to latents (M, 4, side, side)."""
        values = coefficients.view(-1, CHANNELS, self.side, self.side)
        return self._cosines.T.to(values.dtype) @ values @ self._cosines.to(values.dtype)

    def coefficients(self, latents: torch.Tensor) -> torch.Tensor:
        """The reverse of `pixels`."""
        values = latents.reshape(-1, CHANNELS, self.side, self.side)
        return (self._cosines.to(values.dtype) @ values @ self._cosines.T.to(values.dtype)).flatten(1)

    def fresh(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Coordinates of new samples, shape (count, D)."""
        contrast = torch.exp(CONTRAST * torch.randn(count, 1, generator=generator))
        return (
            torch.randn(count, self.dimension, generator=generator) * self.variance.float().sqrt() * contrast
        )

    def _block(self, number: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(number)
        latents = self.pixels(self.fresh(min(self.block, self.count - number * self.block), generator))
        return self._planted(latents, generator) if number == 0 else latents

    def _planted(self, latents: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        latents[0:64] = latents[64:128]  # duplicates
        latents[128:160] = 0
        largest = float(np.finfo(np.float16).max)
        signs = torch.randn(64, *latents.shape[1:], generator=generator).sign()
        latents[160:192] = largest * signs[:32]
        latents[192:200] = largest
        latents[200:224] *= 6e4 / latents[200:224].abs().amax()
        latents[224:256] = 6e-8 * signs[32:]  # the smallest subnormal
        return latents


def karras(steps: int = STEPS) -> torch.Tensor:
    """Noise levels of EDM for data of standard deviation 0.5."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    return (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7


def flow(steps: int = STEPS) -> torch.Tensor:
    """Noise levels of uniform flow matching for data of unit standard deviation, brought to 0.5."""
    time = torch.linspace(1 - 1e-3, 1 / steps, steps, dtype=torch.float64)
    return 0.5 * time / (1 - time)


def trajectory(latents: Latents, stored: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
    """Queries of each step, shape (steps, BATCH, D), float32.

    Args:
        latents: how references are distributed.
        stored: some of them, shape (M, D); a quarter of the batch aims at these.
        sigmas: noise levels.
        seed: of targets and noise.
    """
    generator = torch.Generator().manual_seed(10**6 + seed)
    targets = latents.fresh(BATCH, generator).double()
    known = latents.coefficients(stored.double())
    targets[: BATCH // 4] = known[torch.randint(len(known), (BATCH // 4,), generator=generator)]
    noise = torch.randn(BATCH, latents.dimension, generator=generator, dtype=torch.float64)
    means = [(targets + sigma * noise) * latents.variance / (latents.variance + sigma**2) for sigma in sigmas]
    return torch.stack([latents.pixels(mean).flatten(1).float() for mean in means])


def borderline(stored: torch.Tensor, radius: float, seed: int) -> torch.Tensor:
    """Queries at radius * (1 - 1e-6) and radius * (1 + 1e-6) of stored references (M, D): shape (2 M, D)."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(stored.shape, generator=generator, dtype=torch.float64)
    direction *= radius / direction.norm(dim=1, keepdim=True)
    return torch.cat([stored.double() + direction * (1 + s) for s in (-1e-6, 1e-6)]).float()
