"""Observed failures: read, checked for contradiction, and the network cut to what they bear on. Published code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .errors import FailureNetworkError
from .noisy_or import NoisyOr


@dataclass(frozen=True, eq=False)
class Evidence:
    """Positions of failures in the network that were observed.

    Attributes:
        present, absent: int64, disjoint, without repetition.
    """

    present: np.ndarray
    absent: np.ndarray


@dataclass(frozen=True, eq=False)
class Case:
    """Evidence on the part of a network that is asked about.

    Attributes:
        network: causes before effects, so that positions are a topological order.
        kept: (n,) its positions in the whole network.
        present: (n,) bool, observed present.
        absent: (n,) bool, observed absent, or absent because of that: a certain trigger (1) of an absent effect.
        possible: (n,) bool, can be present at all, given what is absent.
        informed: the first so many failures are evidence or can cause it; the others only follow from them.
    """

    network: NoisyOr
    kept: np.ndarray
    present: np.ndarray
    absent: np.ndarray
    possible: np.ndarray
    informed: int

    def __len__(self) -> int:
        return len(self.network)

    @cached_property
    def causes_only(self) -> Case:
        """The same evidence on the informed failures alone, of which there must be some."""
        n = self.informed
        return Case(
            network=self.network.restricted(np.arange(n)),
            kept=self.kept[:n],
            present=self.present[:n],
            absent=self.absent[:n],
            possible=self.possible[:n],
            informed=n,
        )


def read_evidence(network: NoisyOr, present: Iterable[str], absent: Iterable[str]) -> Evidence:
    """Evidence by names.

    Raises:
        FailureNetworkError: unknown names (with the nearest), or a failure both present and absent.
    """
    on, off = np.unique(network.positions(present)), np.unique(network.positions(absent))
    both = np.intersect1d(on, off)
    if len(both):
        raise FailureNetworkError(f"{network.names[both[0]]!r} is given as present and as absent; keep one")
    return Evidence(on, off)


def pose(network: NoisyOr, evidence: Evidence, informed_by: np.ndarray | None = None) -> Case:
    """The whole network in topological order with its evidence.

    What is certain (probabilities 0 and 1) is followed through the network first. This decides exactly whether
    the evidence is possible: the state in which everything is present that can be has a positive probability.

    Args:
        informed_by: positions that count as observed for the order; the evidence, if None.

    Raises:
        FailureNetworkError: evidence of probability zero; says which observation cannot be.
    """
    observed = np.concatenate([evidence.present, evidence.absent])
    informed = network.ancestors(observed if informed_by is None else informed_by)
    order = np.concatenate([informed, network.order[~np.isin(network.order, informed)]])
    ordered = network.restricted(order)
    present, absent = np.isin(order, evidence.present), np.isin(order, evidence.absent)
    absent = _forced_absent(ordered, present, absent)
    possible = _possible(ordered, absent)
    for i in np.flatnonzero(present & ~possible):
        raise FailureNetworkError(
            f"the evidence has probability zero: {ordered.names[i]!r} was observed, but nothing that can cause it "
            "is possible (priors, leaks or triggers of 0, or causes observed absent); check these"
        )
    return Case(ordered, order, present, absent, possible, len(informed))


def _forced_absent(network: NoisyOr, present: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """Also absent: causes that would certainly trigger an absent effect."""
    absent = absent.copy()
    for i in np.flatnonzero(absent)[::-1]:
        _follow_back(network, int(i), present, absent)
    certain = network.leak >= 1
    for i in np.flatnonzero(absent & certain):
        raise FailureNetworkError(
            f"the evidence has probability zero: {network.names[i]!r} must be absent, but its prior or leak is 1"
        )
    return absent


def _follow_back(network: NoisyOr, effect: int, present: np.ndarray, absent: np.ndarray) -> None:
    waiting = [effect]
    while waiting:
        i = waiting.pop()
        edges = slice(network.first[i], network.first[i + 1])
        for cause in network.cause[edges][network.trigger[edges] >= 1].tolist():
            if present[cause]:
                raise FailureNetworkError(
                    f"the evidence has probability zero: {network.names[cause]!r} was observed and certainly "
                    f"triggers {network.names[i]!r}, which must be absent"
                )
            if not absent[cause]:
                absent[cause] = True
                waiting.append(cause)


def _possible(network: NoisyOr, absent: np.ndarray) -> np.ndarray:
    possible = (network.leak > 0) & ~absent
    for i in np.flatnonzero(~possible & ~absent & ~network.is_root).tolist():
        edges = slice(network.first[i], network.first[i + 1])
        possible[i] = (possible[network.cause[edges]] & (network.trigger[edges] > 0)).any()
    return possible
