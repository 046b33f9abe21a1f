"""Checks of a failure network's parts; each error names the failure or edge. Published code."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np

from .errors import FailureNetworkError

_SHOWN = 5  # names in one message


def check_names(names: tuple[str, ...], leak: np.ndarray, stages: tuple[str, ...]) -> None:
    """Names are unique text, leaks and stages as many."""
    if not names:
        raise FailureNetworkError("the network is empty; give at least one failure")
    odd = [name for name in names if not isinstance(name, str) or not name]
    if odd:
        raise FailureNetworkError(f"names must be non-empty text, not {listed(odd)}")
    if len(set(names)) < len(names):
        counts = dict.fromkeys(names, 0)
        for name in names:
            counts[name] += 1
        twice = [name for name, count in counts.items() if count > 1]
        raise FailureNetworkError(f"names given more than once: {listed(twice)}")
    if len(leak) != len(names):
        raise FailureNetworkError(f"leak holds {len(leak)} numbers for {len(names)} failures")
    if stages and len(stages) != len(names):
        raise FailureNetworkError(f"stages holds {len(stages)} values for {len(names)} failures")


def check_edges(names: tuple[str, ...], cause: np.ndarray, effect: np.ndarray, trigger: np.ndarray) -> None:
    """Ends lie within the failures; no self-loop, no edge twice."""
    if not len(cause) == len(effect) == len(trigger):
        raise FailureNetworkError(
            f"cause, effect and trigger have {len(cause)}, {len(effect)} and {len(trigger)} entries; "
            "give one each per edge"
        )
    ends = np.concatenate([cause, effect])
    if len(ends) and (ends.min() < 0 or ends.max() >= len(names)):
        raise FailureNetworkError(f"an edge points outside the {len(names)} failures")
    loops = np.flatnonzero(cause == effect)
    if len(loops):
        raise FailureNetworkError(
            f"a failure cannot cause itself: {listed([names[cause[i]] for i in loops])}"
        )
    _, at, count = np.unique(cause * len(names) + effect, return_index=True, return_counts=True)
    twice = at[count > 1]
    if len(twice):
        shown = [f"{names[cause[i]]} -> {names[effect[i]]}" for i in twice]
        raise FailureNetworkError(f"edges given more than once: {listed(shown)}")


def check_probabilities(
    names: tuple[str, ...], cause: np.ndarray, effect: np.ndarray, trigger: np.ndarray, leak: np.ndarray
) -> None:
    """All lie in [0, 1]; NaN does not."""
    for i in np.flatnonzero(~((leak >= 0) & (leak <= 1))):
        raise FailureNetworkError(f"leak of {names[i]!r} is {leak[i]}; give a probability from 0 to 1")
    for i in np.flatnonzero(~((trigger >= 0) & (trigger <= 1))):
        edge = f"{names[cause[i]]!r} -> {names[effect[i]]!r}"
        raise FailureNetworkError(f"trigger of {edge} is {trigger[i]}; give a probability from 0 to 1")


def listed(names: Sequence[object]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more


def with_nearest(unknown: Sequence[str], known: Sequence[str]) -> str:
    """Unknown names, each with the known ones that look most like it."""
    parts = []
    for name in unknown[:_SHOWN]:
        near = difflib.get_close_matches(str(name), known, n=3)
        parts.append(f"{name!r}" + (f" (nearest: {listed(near)})" if near else ""))
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    return ", ".join(parts) + more
