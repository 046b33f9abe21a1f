"""Full conditional tables, the common form of general Bayesian networks: out of a noisy-OR network, and back in.

Published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import FailureNetworkError
from .noisy_or import NoisyOr
from .noisy_or_checks import listed
from .noisy_or_tables import noisy_or_table

#: A table has 2^causes rows, so exports stop here.
MOST_CAUSES = 15
#: How far a table may be from a noisy-OR: the digits that files keep.
TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class BinaryTable:
    """One failure.

    Attributes:
        name: of the failure.
        causes: names.
        present: (2,) * len(causes), P(present | absence (0) or presence (1) of each cause).
    """

    name: str
    causes: tuple[str, ...]
    present: np.ndarray


def tables_of(network: NoisyOr) -> list[BinaryTable]:
    """One table a failure, causes before effects.

    Raises:
        FailureNetworkError: names the failures with more than `MOST_CAUSES` causes.
    """
    counts = np.diff(network.first)
    wide = [f"{network.names[i]} ({counts[i]} causes)" for i in np.flatnonzero(counts > MOST_CAUSES)]
    if wide:
        raise FailureNetworkError(
            f"tables would have 2^causes rows; at most {MOST_CAUSES} causes are exported, but there are "
            f"{listed(wide)}: keep the network as a checkpoint, or use to_pyagrum, which needs no tables"
        )
    tables = []
    for i in network.order.tolist():
        edges = slice(network.first[i], network.first[i + 1])
        causes = tuple(network.names[c] for c in network.cause[edges])
        tables.append(
            BinaryTable(network.names[i], causes, noisy_or_table(network.leak[i], network.trigger[edges]))
        )
    return tables


def network_of(tables: Sequence[BinaryTable], stages: dict[str, str] | None = None) -> NoisyOr:
    """The noisy-OR network that these tables describe.

    Raises:
        FailureNetworkError: names failures whose table is no leaky noisy-OR, by more than `TOLERANCE`.
    """
    edges: list[tuple[str, str, float]] = []
    leak = {}
    other = []
    for table in tables:
        count = len(table.causes)
        off = float(table.present[(0,) * count])
        leak[table.name] = off
        alone = [float(table.present[tuple(int(j == k) for j in range(count))]) for k in range(count)]
        trigger = np.array([min(max((p - off) / (1 - off), 0.0), 1.0) if off < 1 else 0.0 for p in alone])
        gap = float(np.abs(noisy_or_table(off, trigger) - table.present).max())
        if gap > TOLERANCE:
            other.append(f"{table.name} (off by {gap:.2g})")
        edges += [(cause, table.name, q) for cause, q in zip(table.causes, trigger, strict=True)]
    if other:
        raise FailureNetworkError(
            f"not a leaky noisy-OR: {listed(other)}; only networks in which every cause acts by itself can be read"
        )
    return NoisyOr.from_edges(edges, leak, stages)
