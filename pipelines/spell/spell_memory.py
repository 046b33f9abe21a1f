"""Protected references held in memory, with exact search."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .spell_errors import ReferencesError
from .spell_protected import InsidePairs

_ELEMENTS = 1 << 22  # of one temporary array


class MemoryReferences:
    """Protected references given as one tensor; a `Protected` set and its own search.

    A matrix product finds candidates, with a bound on its rounding error; what lies inside is decided by exact
    differences in float64, so nothing inside a radius is missed and no distance comes from a matrix product.

    Args:
        references: shape (N, *sample shape), floating point, in the model's own sample space.

    Raises:
        ReferencesError: no references, no sample shape, not floating point, or a value that is not finite.
    """

    def __init__(self, references: torch.Tensor) -> None:
        if (
            not isinstance(references, torch.Tensor)
            or references.ndim < 2
            or not references.is_floating_point()
        ):
            given = (
                f"{tuple(references.shape)}, {references.dtype}"
                if hasattr(references, "shape")
                else references
            )
            raise ReferencesError(
                f"references must be a floating-point tensor (N, *sample shape) or a ReferenceSet, not {given!r:.200}"
            )
        if references.numel() == 0:
            raise ReferencesError(
                f"references of shape {tuple(references.shape)} hold nothing to protect; pass None for no references"
            )
        bad = ~references.flatten(1).isfinite().all(1)
        if bad.any():
            raise ReferencesError(
                f"{int(bad.sum())} of {len(references)} references are not finite, the first is number "
                f"{int(bad.nonzero()[0])}; encode them again in float32 or bfloat16"
            )
        self.sample_shape = tuple(references.shape[1:])
        keep = torch.float64 if references.dtype == torch.float64 else torch.float32
        self.rows = references.detach().flatten(1).to(keep)
        self._norms = self.rows.double().norm(dim=1)

    def __len__(self) -> int:
        """Number of references."""
        return len(self.rows)

    def search(self) -> MemoryReferences:
        """Itself: it keeps no state between steps."""
        return self

    def within(self, queries: torch.Tensor, radius: float) -> Iterator[InsidePairs]:
        """All references within `radius` of each query of shape (B, D), none missed, in bounded chunks."""
        for first, lower, _ in self._bounds(queries):
            query, reference = (~(lower > radius)).nonzero(as_tuple=True)
            for start in range(0, len(query), self._pairs):
                some = slice(start, start + self._pairs)
                rows = self.rows[first + reference[some]]
                distance = exact_distance(queries[query[some]], rows)
                inside = distance <= radius
                if inside.any():
                    yield InsidePairs(
                        query[some][inside], first + reference[some][inside], rows[inside], distance[inside]
                    )

    def nearest(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Index and exact float64 distance of the nearest reference of each query (B, D): two (B,) tensors."""
        bounds = list(self._bounds(queries))
        reach = torch.stack([upper.amin(1) for _, _, upper in bounds]).amin(0)  # the nearest is no farther
        index = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
        best = torch.full((len(queries),), torch.inf, dtype=torch.float64, device=queries.device)
        for first, lower, _ in bounds:
            query, reference = (~(lower > reach[:, None])).nonzero(as_tuple=True)
            for start in range(0, len(query), self._pairs):
                some = slice(start, start + self._pairs)
                distance = exact_distance(queries[query[some]], self.rows[first + reference[some]])
                for q, r, d in zip(query[some].tolist(), reference[some].tolist(), distance, strict=True):
                    if d < best[q]:
                        best[q], index[q] = d, first + r
        return index, best

    def typical_distance(self, pairs: int = 512) -> float:
        """Median distance of two different references, from evenly chosen pairs; nan where there is only one."""
        count = len(self)
        if count < 2:
            return float("nan")
        generator = torch.Generator().manual_seed(0)
        one = torch.randint(count, (pairs,), generator=generator)
        other = (one + torch.randint(1, count, (pairs,), generator=generator)) % count
        distances = [
            exact_distance(self.rows[one[i : i + 32]], self.rows[other[i : i + 32]])
            for i in range(0, pairs, 32)
        ]
        return float(torch.cat(distances).median())

    @property
    def _pairs(self) -> int:
        return max(1, _ELEMENTS // self.rows.shape[1])

    def _bounds(self, queries: torch.Tensor) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Lower and upper bounds of the distances, chunk by chunk of the references: (first, (B, M), (B, M))."""
        self._follow(queries.device)
        single = queries.float()
        norms = queries.double().norm(dim=1)
        unit = _product_roundoff(queries.device) * 2 * (self.rows.shape[1] + 8)
        chunk = max(1, _ELEMENTS // max(1, len(queries)))
        for first in range(0, len(self), chunk):
            rows, row_norms = self.rows[first : first + chunk], self._norms[first : first + chunk]
            squared = norms[:, None] ** 2 + row_norms**2 - 2 * (single @ rows.float().T).double()
            slack = unit * (norms[:, None] + row_norms) ** 2
            yield first, (squared - slack).clamp_min(0).sqrt(), (squared + slack).clamp_min(0).sqrt()

    def _follow(self, device: torch.device) -> None:
        if self.rows.device != device:
            self.rows, self._norms = self.rows.to(device), self._norms.to(device)


def exact_distance(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Euclidean distances of paired rows (M, D) by differences in float64, shape (M,)."""
    return (queries.double() - rows.double()).norm(dim=1)


def _product_roundoff(device: torch.device) -> float:
    """Largest relative error of one product in a float32 matrix product, under the settings in force."""
    if torch.get_float32_matmul_precision() == "medium":
        return 2.0**-8  # bfloat16
    tf32 = device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32
    return 2.0**-10 if tf32 or torch.get_float32_matmul_precision() == "high" else 2.0**-24
