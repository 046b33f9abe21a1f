"""A leaky noisy-OR network: binary failures, edges with trigger probabilities, leaks. Published code.

    P(X_i = 0 | causes) = (1 - leak_i) * product over present causes c of (1 - trigger_ci)

``trigger`` is the probability that this cause alone triggers the effect, the leak left out (Diez, 1993); for a
failure without causes the leak is its prior. No table of 2^causes numbers is ever built.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .errors import FailureNetworkError
from .noisy_or_checks import check_edges, check_names, check_probabilities, listed, with_nearest


@dataclass(frozen=True, eq=False)
class NoisyOr:
    """n failures and E edges; checked on construction, edges sorted by effect, arrays read-only.

    Attributes:
        names: of the failures, unique, not empty.
        cause, effect: (E,) int64 positions in ``names``; no cycle, no edge twice.
        trigger: (E,) float64 in [0, 1].
        leak: (n,) float64 in [0, 1]; the probability that a failure comes from no cause in the network.
        stages: process stage of each failure ("" = none), or empty.

    Raises:
        FailureNetworkError: names the failure or edge that is wrong; a cycle is printed.
    """

    names: tuple[str, ...]
    cause: np.ndarray
    effect: np.ndarray
    trigger: np.ndarray
    leak: np.ndarray
    stages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        cause, effect = (np.array(value, dtype=np.int64).reshape(-1) for value in (self.cause, self.effect))
        trigger, leak = (np.array(value, dtype=np.float64).reshape(-1) for value in (self.trigger, self.leak))
        names, stages = tuple(self.names), tuple(self.stages)
        check_names(names, leak, stages)
        check_edges(names, cause, effect, trigger)
        order = np.lexsort((cause, effect))
        values = {
            "names": names,
            "stages": stages,
            "cause": cause[order],
            "effect": effect[order],
            "trigger": trigger[order],
            "leak": leak,
        }
        for field, value in values.items():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, field, value)
        check_probabilities(names, self.cause, self.effect, self.trigger, self.leak)
        self.order  # noqa: B018 - finds a cycle now rather than at the first question

    @classmethod
    def from_edges(
        cls,
        edges: Iterable[tuple[str, str, float]],
        leak: Mapping[str, float],
        stages: Mapping[str, str] | None = None,
    ) -> NoisyOr:
        """A network by names.

        Args:
            edges: (cause, effect, trigger probability).
            leak: name -> leak, for a failure without causes its prior. Effects may be left out (leak 0).
            stages: name -> process stage.

        Raises:
            FailureNetworkError: see the class; also a failure without causes that has no probability, or a
                stage of an unknown failure.
        """
        edges = list(edges)
        if any(len(edge) != 3 for edge in edges):
            raise FailureNetworkError("each edge must be (cause, effect, trigger probability)")
        names = list(dict.fromkeys([*leak, *(name for edge in edges for name in edge[:2])]))
        index = {name: position for position, name in enumerate(names)}
        effects = {edge[1] for edge in edges}
        missing = [name for name in names if name not in leak and name not in effects]
        if missing:
            raise FailureNetworkError(
                f"no probability for {listed(missing)}: a failure without causes needs one, leak={{name: p}}"
            )
        unknown = [name for name in stages or {} if name not in index]
        if unknown:
            raise FailureNetworkError(f"stages names unknown failures: {with_nearest(unknown, names)}")
        return cls(
            names=tuple(names),
            cause=np.array([index[edge[0]] for edge in edges], dtype=np.int64),
            effect=np.array([index[edge[1]] for edge in edges], dtype=np.int64),
            trigger=np.array([edge[2] for edge in edges], dtype=np.float64),
            leak=np.array([leak.get(name, 0.0) for name in names], dtype=np.float64),
            stages=tuple(stages.get(name, "") for name in names) if stages else (),
        )

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def index(self) -> dict[str, int]:
        """Name -> position."""
        return {name: position for position, name in enumerate(self.names)}

    @cached_property
    def first(self) -> np.ndarray:
        """(n + 1,): the edges into failure i are ``first[i]:first[i + 1]``."""
        return np.searchsorted(self.effect, np.arange(len(self) + 1))

    @cached_property
    def order(self) -> np.ndarray:
        """(n,): positions, every cause before its effects (Kahn, without recursion)."""
        if (self.cause < self.effect).all():
            return np.arange(len(self))
        by_cause = np.argsort(self.cause, kind="stable")
        starts = np.searchsorted(self.cause[by_cause], np.arange(len(self) + 1)).tolist()
        effects = self.effect[by_cause].tolist()
        waiting_for = np.diff(self.first).tolist()
        order = [i for i, count in enumerate(waiting_for) if not count]
        for i in order:  # grows while it is read
            for effect in effects[starts[i] : starts[i + 1]]:
                waiting_for[effect] -= 1
                if not waiting_for[effect]:
                    order.append(effect)
        if len(order) < len(self):
            raise FailureNetworkError(f"the failures form a cycle: {' -> '.join(self._cycle(waiting_for))}")
        return np.array(order, dtype=np.int64)

    def _cycle(self, waiting_for: list[int]) -> list[str]:
        """Names along one cycle: from a failure that still waits, always to a cause that waits too."""
        node = next(i for i, count in enumerate(waiting_for) if count)
        seen: dict[int, int] = {}
        while node not in seen:
            seen[node] = len(seen)
            causes = self.cause[self.first[node] : self.first[node + 1]].tolist()
            node = next(c for c in causes if waiting_for[c])
        loop = list(seen)[seen[node] :][::-1]
        return [self.names[i] for i in [*loop, loop[0]]]

    def positions(self, names: Iterable[str]) -> np.ndarray:
        """Positions of failures by name.

        Raises:
            FailureNetworkError: unknown names, each with the nearest known ones.
        """
        names = [names] if isinstance(names, str) else list(names)
        unknown = [name for name in names if name not in self.index]
        if unknown:
            raise FailureNetworkError(f"unknown failures: {with_nearest(unknown, self.names)}")
        return np.array([self.index[name] for name in names], dtype=np.int64)

    def stage(self, position: int) -> str:
        """Process stage of one failure, "" where none is given."""
        return self.stages[position] if self.stages else ""

    @cached_property
    def is_root(self) -> np.ndarray:
        """(n,) bool: failures without causes."""
        return np.diff(self.first) == 0

    def ancestors(self, positions: Iterable[int] | np.ndarray) -> np.ndarray:
        """Positions, causes first, of these failures and all that can cause them."""
        needed = np.zeros(len(self), dtype=bool)
        needed[np.asarray(positions, dtype=np.int64)] = True
        for i in self.order[::-1].tolist():
            if needed[i]:
                needed[self.cause[self.first[i] : self.first[i + 1]]] = True
        return self.order[needed[self.order]]

    def restricted(self, positions: np.ndarray) -> NoisyOr:
        """The network of these failures alone, in this order; every cause of a kept failure must be kept."""
        new = np.full(len(self), -1, dtype=np.int64)
        new[positions] = np.arange(len(positions))
        kept = new[self.effect] >= 0
        return NoisyOr(
            names=tuple(self.names[i] for i in positions),
            cause=new[self.cause[kept]],
            effect=new[self.effect[kept]],
            trigger=self.trigger[kept],
            leak=self.leak[positions],
            stages=tuple(self.stages[i] for i in positions) if self.stages else (),
        )

    def fixed(
        self, present: Sequence[int] | np.ndarray = (), absent: Sequence[int] | np.ndarray = ()
    ) -> NoisyOr:
        """The network after an intervention (Pearl's do): these failures forced on or off, whatever their causes."""
        leak = self.leak.copy()
        leak[np.asarray(present, dtype=np.int64)] = 1.0
        leak[np.asarray(absent, dtype=np.int64)] = 0.0
        kept = ~np.isin(self.effect, np.concatenate([np.asarray(present, int), np.asarray(absent, int)]))
        return NoisyOr(self.names, self.cause[kept], self.effect[kept], self.trigger[kept], leak, self.stages)

    def log_off(self, states: np.ndarray) -> np.ndarray:
        """log P(X_i = 0 | causes) for full states (S, n) bool; (S, n), -inf where a failure is certain."""
        with np.errstate(divide="ignore"):
            result = np.tile(np.log1p(-self.leak), (len(states), 1))
            silent = np.where(states[:, self.cause], np.log1p(-self.trigger), 0.0)
        effects = np.flatnonzero(~self.is_root)
        if len(effects):
            result[:, effects] += np.add.reduceat(silent, self.first[effects], axis=1)
        return result

    def log_probability(self, states: np.ndarray) -> np.ndarray:
        """log P of full states, (S, n) bool or (n,); (S,) or a scalar array."""
        states = np.asarray(states, dtype=bool)
        rows = np.atleast_2d(states)
        off = self.log_off(rows)
        with np.errstate(divide="ignore"):
            on = np.log(-np.expm1(off))
        return np.where(rows, on, off).sum(axis=1).reshape(states.shape[:-1])

    def sample(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """``count`` states drawn from the network, (count, n) bool."""
        states = np.zeros((len(self), count), dtype=bool)
        with np.errstate(divide="ignore"):
            log_silent, log_no_leak = np.log1p(-self.trigger), np.log1p(-self.leak)
        for i in self.order:
            edges = slice(self.first[i], self.first[i + 1])
            off = np.where(states[self.cause[edges]], log_silent[edges, None], 0.0).sum(axis=0)
            states[i] = generator.random(count) < -np.expm1(off + log_no_leak[i])
        return states.T

    def marginals(self) -> np.ndarray:
        """(n,) upper bounds of P(X_i = 1), causes taken as independent (Harris' inequality makes it a bound)."""
        marginal = np.zeros(len(self))
        for i in self.order:
            edges = slice(self.first[i], self.first[i + 1])
            off = np.prod(1 - self.trigger[edges] * marginal[self.cause[edges]])
            marginal[i] = 1 - (1 - self.leak[i]) * off if off < 1 else self.leak[i]
        return marginal
