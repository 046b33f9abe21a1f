"""Suite "root-causes": is what a failure network ranks first what really happened?

Cascades are drawn from the network itself, so the experts' numbers count as right: what is measured is how far the
reasoning gets with them, not the experts. Only the end of the process is seen: of the failures that cause nothing
further, which are present and which are not. A cascade counts if one of these is present and a chain of present
failures leads to it from a root cause; every such root cause is a right answer.

Two rankings without inference are measured on the same cascades, among the root causes that can lead to what is seen:
by prior, and by the table's risk priority number, severity x occurrence x detection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..checkpoint_folder import RECIPE, tensors_sha256
from ..failure.checkpoint import recipe_table
from ..failure.experts import pooled
from ..failure.records import FailureTable
from ..failure.table import read_table
from ..noisy_or import NoisyOr
from ..noisy_or_evidence import Evidence
from ..noisy_or_posterior import infer
from ..repository import load_strictly
from ..zoo import resolve
from .bootstrap import bootstrap
from .proportions import proportion
from .results import Result, Run

TASK = "root-causes@1"
CASCADES = 300
_DRAWN, _TOP = 2048, 5
_PRECISION, _SECONDS = 0.01, 1.0


@dataclass(frozen=True, eq=False)
class Cascade:
    """What is seen at the end of the process, and the root causes (positions) that led to it."""

    seen: Evidence
    causes: frozenset[int]


def root_causes(folder: Path, seeds: int, command: str) -> Iterator[list[Result]]:
    """Figures of a released network on ``CASCADES`` cascades, once for each seed of these.

    Raises:
        CheckpointError: the folder cannot be read.
        RecipeError: its recipe names no table.
        FailureTableError: the table cannot be read.
    """
    model = load_strictly(resolve(folder))
    network = model.network
    table = read_table(recipe_table(folder / RECIPE))
    revision = tensors_sha256(model.state_dict())[:12]
    for seed in range(seeds):
        run = Run(folder.name, revision, seed, command)
        yield root_cause_results(network, table, draw_cascades(network, CASCADES, seed), run)


def root_cause_results(
    network: NoisyOr, table: FailureTable, cascades: list[Cascade], run: Run
) -> list[Result]:
    """Shares of cascades whose first cause is right, and with a right one among the first five; and the lead."""
    risk = risk_priority_numbers(network, table)
    ranked = {
        "": [by_posterior(network, each.seen) for each in cascades],
        "prior": [by_score(network, each.seen, network.leak) for each in cascades],
        "severity x occurrence x detection": [by_score(network, each.seen, risk) for each in cascades],
    }
    found = []
    first: dict[str, np.ndarray] = {}
    for read_out, rankings in ranked.items():
        pairs = list(zip(rankings, cascades, strict=True))
        first[read_out] = np.array([not each.causes.isdisjoint(order[:1]) for order, each in pairs])
        among = np.array([not each.causes.isdisjoint(order[:_TOP]) for order, each in pairs])
        found.append(run.result(TASK, "top cause right", read_out, proportion(first[read_out])))
        found.append(run.result(TASK, "right cause in top five", read_out, proportion(among)))
    for read_out in list(ranked)[1:]:
        lead = bootstrap(_difference, first[""], first[read_out])
        found.append(run.result(TASK, f"top cause right minus {read_out}", "", lead))
    return found


def draw_cascades(network: NoisyOr, count: int, seed: int) -> list[Cascade]:
    """Cascades that led from a root cause to the end of the process."""
    generator = np.random.default_rng(seed)
    last = np.setdiff1d(np.flatnonzero(~network.is_root), network.cause)
    found: list[Cascade] = []
    while len(found) < count:
        for state in network.sample(_DRAWN, generator):
            seen = last[state[last]]
            causes = _led_to(network, state, seen)
            if causes:
                found.append(Cascade(Evidence(seen, last[~state[last]]), causes))
    return found[:count]


def by_posterior(network: NoisyOr, seen: Evidence) -> list[int]:
    """Root causes, the most probable given what is seen first."""
    answer = infer(network, seen, _PRECISION, _SECONDS)
    return [network.index[record.name] for record in answer.ranked()]


def by_score(network: NoisyOr, seen: Evidence, score: np.ndarray) -> list[int]:
    """Root causes that can lead to what is present, those of the highest score (n,) first."""
    possible = [int(i) for i in network.ancestors(seen.present) if network.is_root[i]]
    return sorted(possible, key=lambda i: (-score[i], network.names[i]))


def risk_priority_numbers(network: NoisyOr, table: FailureTable) -> np.ndarray:
    """(n,) severity x occurrence x detection in ratings of the table; 1 for a rating that is not given."""
    scale = table.occurrence_scale
    number = {
        each.name: (each.severity or 1)
        * (scale.nearest(pooled(each.occurrence)) if each.occurrence else 1)
        * (each.detection or 1)
        for each in table.failures
    }
    return np.array([number.get(name, 1) for name in network.names], dtype=np.float64)


def _led_to(network: NoisyOr, state: np.ndarray, seen: np.ndarray) -> frozenset[int]:
    """Present root causes from which present failures lead to one that is seen."""
    on_a_way, waiting = set(seen.tolist()), seen.tolist()
    while waiting:
        i = waiting.pop()
        edges = slice(network.first[i], network.first[i + 1])
        active = network.cause[edges][state[network.cause[edges]] & (network.trigger[edges] > 0)]
        waiting += [cause for cause in active.tolist() if cause not in on_a_way]
        on_a_way.update(active.tolist())
    return frozenset(i for i in on_a_way if network.is_root[i])


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(ours.mean() - theirs.mean())
