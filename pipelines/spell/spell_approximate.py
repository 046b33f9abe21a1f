"""An approximate search, by explicit choice only: a miss is a leak, so its measured recall is told."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import torch

from .spell_errors import ReferencesError, SpellWarning
from .spell_memory import exact_distance
from .spell_protected import InsidePairs
from .spell_references import ReferenceSet

_ROWS = 4096  # added at once
_TRAINING = 20_000


class ApproximateReferences:
    """A set behind a faiss IVF index: fast at radii where exact search is slow, but it misses some; a `Protected` set.

    What it finds is exact, since the stored rows decide; what it does not look at is lost.

    Args:
        references: the set.
        cells: of the index; by default 4 sqrt(N).
        probes: cells looked at for each query; more is slower and misses less.

    Raises:
        ReferencesError: faiss is not installed.
    """

    def __init__(self, references: ReferenceSet, *, cells: int | None = None, probes: int = 16) -> None:
        try:
            import faiss
        except ImportError:
            raise ReferencesError("an approximate search needs faiss: pip install faiss-cpu") from None
        self._references, self.sample_shape = references, references.sample_shape
        self._numbers = references.live()
        columns = int(np.prod(self.sample_shape))
        cells = cells or max(1, min(int(4 * len(self._numbers) ** 0.5), len(self._numbers) // 40))
        quantiser = faiss.IndexFlatL2(columns)
        self._index = faiss.IndexIVFScalarQuantizer(quantiser, columns, cells, faiss.ScalarQuantizer.QT_fp16)
        training = self._numbers[:: max(1, len(self._numbers) // _TRAINING)]
        self._index.train(references.rows(training).flatten(1).numpy())
        for start in range(0, len(self._numbers), _ROWS):
            self._index.add(references.rows(self._numbers[start : start + _ROWS]).flatten(1).numpy())
        self._index.nprobe = probes

    def __len__(self) -> int:
        """Number of references."""
        return len(self._references)

    def search(self) -> ApproximateReferences:
        """Itself: it keeps no state between steps."""
        return self

    def within(self, queries: torch.Tensor, radius: float) -> Iterator[InsidePairs]:
        """Most of the references within `radius` of each query of shape (B, D)."""
        vectors = queries.detach().float().cpu().numpy()
        limits, _, found = self._index.range_search(vectors, float(radius * (1 + 1e-3)) ** 2)
        for query in range(len(queries)):
            numbers = np.sort(self._numbers[found[limits[query] : limits[query + 1]]])
            for start in range(0, len(numbers), 512):
                some = numbers[start : start + 512]
                rows = self._references.rows(some).flatten(1).to(queries.device)
                distance = exact_distance(queries[query], rows)
                inside = distance <= radius
                number = torch.from_numpy(some).to(queries.device)[inside]
                yield InsidePairs(torch.full_like(number, query), number, rows[inside], distance[inside])

    def nearest(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Number and exact distance of the nearest reference: by exact search, since reports must not be wrong."""
        return self._references.nearest(queries)

    def recall(self, queries: torch.Tensor, radius: float) -> float:
        """Share of the pairs inside that this index finds, measured against exact search; warned of below 1.

        Args:
            queries: such as expected clean images of a few generations, shape (B, D).
            radius: of the balls.
        """
        found, true = (
            sum(len(pairs.query) for pairs in references.search().within(queries, radius))
            for references in (self, self._references)
        )
        recall = found / true if true else 1.0
        warnings.warn(
            f"approximate search: {found:,} of {true:,} pairs within {radius:g} found, recall {recall:.4f}; every "
            "other one is unprotected. ReferenceSet.search misses none",
            SpellWarning,
            stacklevel=2,
        )
        return recall
