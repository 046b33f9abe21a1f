"""What the shield asks of a set of protected references, however large and wherever it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch


class InsidePairs(NamedTuple):
    """Some of the pairs of a query and a reference that lie within the radius of each other.

    Attributes:
        query: index into the batch, shape (M,), int64.
        reference: index into the set, shape (M,), int64.
        rows: the references themselves, shape (M, D), float32 or float64.
        distance: Euclidean, by exact differences in float64, shape (M,), each at most the radius.
    """

    query: torch.Tensor
    reference: torch.Tensor
    rows: torch.Tensor
    distance: torch.Tensor


class ReferenceSearch(Protocol):
    """One generation's view of a set: may keep state between its steps, so each generation has its own."""

    def within(self, queries: torch.Tensor, radius: float) -> Iterator[InsidePairs]:
        """All references within `radius` of each query of shape (B, D), none missed, in bounded chunks."""
        ...


class Protected(Protocol):
    """A set of N references of one sample shape; D is the number of elements of a sample."""

    sample_shape: tuple[int, ...]

    def __len__(self) -> int:
        """Number of references N."""
        ...

    def search(self) -> ReferenceSearch:
        """A fresh search for one generation."""
        ...

    def nearest(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Index and exact float64 distance of the nearest reference of each query (B, D): two (B,) tensors."""
        ...
