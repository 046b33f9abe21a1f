"""Protected references held in memory, with exact search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from .spell_errors import ReferencesError
from .spell_protected import InsidePairs

_ELEMENTS = 1 << 22  # of one temporary array
_MANY = 1 << 22  # elements of references whose distances are first bounded in few coordinates
_FEW = 64
_FITTED = 1024  # references that the few coordinates are fitted to


class MemoryReferences:
    """Protected references given as one tensor; a `Protected` set and its own search.

    A matrix product excludes most references, with a bound on its rounding error; what lies inside is decided by
    exact differences in float64, so nothing inside a radius is missed and no distance comes from a matrix product.

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
        self._points: tuple[_Points | None, _Points] | None = None

    def __len__(self) -> int:
        """Number of references."""
        return len(self.rows)

    def search(self) -> MemoryReferences:
        """Itself: it keeps no state between steps."""
        return self

    def within(self, queries: torch.Tensor, radius: float) -> Iterator[InsidePairs]:
        """All references within `radius` of each query of shape (B, D), none missed, in bounded chunks."""
        reach = torch.full((len(queries),), radius, dtype=torch.float64, device=queries.device)
        for query, reference in self._possible(queries, reach):
            rows = self.rows[reference]
            distance = exact_distance(queries[query], rows)
            inside = distance <= radius
            if inside.any():
                yield InsidePairs(query[inside], reference[inside], rows[inside], distance[inside])

    def nearest(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Index and exact float64 distance of the nearest reference of each query (B, D): two (B,) tensors."""
        reach = exact_distance(queries, self.rows[self._likely(queries)])  # the nearest is no farther
        index = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
        best = torch.full((len(queries),), torch.inf, dtype=torch.float64, device=queries.device)
        for query, reference in self._possible(queries, reach):
            distance = exact_distance(queries[query], self.rows[reference])
            for q, r, d in zip(query.tolist(), reference.tolist(), distance, strict=True):
                if d < best[q] or (d == best[q] and r < index[q]):
                    best[q], index[q] = d, r
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

    def _possible(
        self, queries: torch.Tensor, reach: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pairs (query, reference), two (M,) tensors, whose distance may be within the query's reach (B,)."""
        few, whole = self._points_on(queries.device)
        least = whole.least(queries, reach)
        pairs = max(1, _ELEMENTS // self.rows.shape[1])
        for some in self._spans(len(queries)) if few is None else self._near(few, queries, reach):
            reference, query = (~(whole.scores(queries, some) < least)).nonzero(as_tuple=True)
            number = some.start + reference if isinstance(some, slice) else some[reference]
            yield from zip(query.split(pairs), number.split(pairs), strict=True)

    def _near(self, few: _Points, queries: torch.Tensor, reach: torch.Tensor) -> Iterator[torch.Tensor]:
        """Numbers of references that few coordinates do not exclude for every query."""
        own = few.of(queries)
        least = few.least(own, reach)
        for span in self._spans(len(queries)):
            near = (~(few.scores(own, span) < least)).any(1).nonzero().flatten()
            yield from (span.start + near).split(max(1, _ELEMENTS // self.rows.shape[1]))

    def _likely(self, queries: torch.Tensor) -> torch.Tensor:
        """A reference that is probably the nearest of each query, (B,)."""
        few, whole = self._points_on(queries.device)
        points = few or whole
        own = points.of(queries)
        best = [(*points.scores(own, span).max(0), span.start) for span in self._spans(len(queries))]
        which = torch.stack([score for score, _, _ in best]).argmax(0)
        return torch.stack([start + row for _, row, start in best]).gather(0, which[None])[0]

    def _spans(self, queries: int) -> Iterator[slice]:
        """All references, a bounded number of products at once."""
        step = max(1, _ELEMENTS // max(1, queries))
        return (slice(first, min(first + step, len(self))) for first in range(0, len(self), step))

    def _points_on(self, device: torch.device) -> tuple[_Points | None, _Points]:
        """For few coordinates, where that pays, and for all; made at first use, where the queries are."""
        if self.rows.device != device:
            self.rows, self._points = self.rows.to(device), None
        if self._points is None:
            pays = self.rows.numel() > _MANY and self.rows.shape[1] > 2 * _FEW
            few = _Points(self.rows, _Axes.of(self.rows)) if pays else None
            self._points = (few, _Points(self.rows, None))
        return self._points


class _Axes(NamedTuple):
    """Directions in which references differ most, orthonormal, shape (D, K), float64, and their centre (D,)."""

    directions: torch.Tensor
    centre: torch.Tensor

    @classmethod
    def of(cls, rows: torch.Tensor) -> _Axes:
        """By subspace iteration on some of the rows (N, D)."""
        some = rows[:: max(1, len(rows) // _FITTED)][:_FITTED].double()
        centre = some.mean(0)
        noise = torch.randn(rows.shape[1], _FEW, generator=torch.Generator().manual_seed(0))
        directions = noise.to(some)
        for _ in range(3):
            directions = torch.linalg.qr((some - centre).T @ ((some - centre) @ directions)).Q
        return cls(directions, centre)


class _Points:
    """What excludes pairs cheaply: points no farther apart than the references are.

    These are the references themselves or, along orthonormal axes, their coordinates and the length of the rest.
    |q - z| <= r needs q.z - |z|^2 / 2 >= (|q|^2 - r^2) / 2: one matrix product in float32, whose rounding is bounded
    by a margin in both squares.

    Args:
        rows: the references, shape (N, D).
        axes: of the coordinates, or None for the references themselves.
    """

    def __init__(self, rows: torch.Tensor, axes: _Axes | None) -> None:
        self._axes = axes
        parts = [self.of(part) for part in rows.split(max(1, _ELEMENTS // rows.shape[1]))]
        self._points = rows.float() if axes is None else torch.cat([part.float() for part in parts])
        squares = torch.cat([_squares(part) for part in parts])
        self._half = (squares / 2).float()[:, None]

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """Points of rows (M, D): shape (M, K), float64 along axes, else the rows."""
        if self._axes is None:
            return rows
        rows = rows.double() - self._axes.centre
        coordinates = rows @ self._axes.directions
        rest = (_squares(rows) - _squares(coordinates)).clamp_min(0).sqrt()
        return torch.cat([coordinates, rest[:, None]], dim=1)

    def scores(self, queries: torch.Tensor, some: slice | torch.Tensor) -> torch.Tensor:
        """q.z - |z|^2 / 2, and a little more, of some references and queries (B, K): shape (M, B), float32."""
        with torch.autocast(queries.device.type, enabled=False):
            return torch.addmm(self._half[some], self._points[some], queries.float().T, beta=self._margin - 1)

    def least(self, queries: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
        """The score below which a reference is farther from a query than its reach (B,): (B,), float32."""
        return _below(((1 - self._margin) * _squares(queries) - reach**2) / 2)

    @property
    def _margin(self) -> float:
        return 4 * _product_roundoff(self._points.device) * (self._points.shape[1] + 16)


def _squares(rows: torch.Tensor) -> torch.Tensor:
    """Squared lengths of rows (M, D), shape (M,), float64."""
    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).square()


def _below(values: torch.Tensor) -> torch.Tensor:
    """Float64 as float32, not above it."""
    single = values.float()
    return torch.where(
        single.double() > values, single.nextafter(torch.full_like(single, -torch.inf)), single
    )


def exact_distance(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Euclidean distances of paired rows (M, D) by differences in float64, shape (M,)."""
    return (queries.double() - rows.double()).norm(dim=1)


def _product_roundoff(device: torch.device) -> float:
    """Largest relative error of one product in a float32 matrix product, under the settings in force."""
    if torch.get_float32_matmul_precision() == "medium":
        return 2.0**-8  # bfloat16
    tf32 = device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32
    return 2.0**-10 if tf32 or torch.get_float32_matmul_precision() == "high" else 2.0**-24
