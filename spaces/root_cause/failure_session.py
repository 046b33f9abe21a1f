"""A failure network and the questions that the page asks of it. Holds nothing of any visitor but what they uploaded."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import networkx as nx
import numpy as np
from cause_paths import Link, find_links, strongest_paths
from table_review import Review

from hub_models.errors import FailureNetworkError, FailureTableError
from hub_models.failure.build import build_network
from hub_models.failure.records import Semantics
from hub_models.failure.table import examine_table
from hub_models.modeling_failure_network import FailureNetworkModel
from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_evidence import Evidence, read_evidence
from hub_models.noisy_or_posterior import infer
from hub_models.noisy_or_questions import Inspection, inspection_values
from hub_models.noisy_or_records import FailurePosterior, Posterior

PRECISION, TIME_LIMIT = 0.01, 0.5  # half width of the intervals; seconds
SHOWN_CAUSES, SHOWN_INSPECTIONS = 8, 5
DRAWN_CAUSES = 5
MOST_FAILURES = 5_000


@dataclass(frozen=True)
class Diagnosis:
    """What is said about some observed failures.

    Attributes:
        present, absent, fixed: as they were given.
        posterior: of all failures, if ``fixed`` were repaired beforehand.
        causes: root causes, the most probable first.
        paths: along which the first of them reach what is present.
        unnamed: name -> probability that this effect is present and a cause that nobody named triggered it.
        inspections: what to look at next, the most telling first.
        remaining: how often the observations would still occur with ``fixed`` repaired, as a share of how often
            they do, with a 95 % interval; None if nothing is fixed.
    """

    present: tuple[str, ...]
    absent: tuple[str, ...]
    fixed: tuple[str, ...]
    posterior: Posterior
    causes: tuple[FailurePosterior, ...]
    paths: tuple[tuple[Link, ...], ...]
    unnamed: dict[str, float]
    inspections: tuple[Inspection, ...]
    remaining: tuple[float, float, float] | None


class NothingLeftError(FailureNetworkError):
    """With some causes fixed, the observed failures cannot occur at all."""


@dataclass(frozen=True)
class Session:
    """A network that can be asked.

    Attributes:
        name: of the file or folder that it came from.
        network: with causes before effects.
        stages: process steps in order.
        review: of the table that it was built from; None if it came as a network.
    """

    name: str
    network: NoisyOr
    stages: tuple[str, ...]
    review: Review | None

    @classmethod
    def open(cls, path: str | Path, semantics: Semantics | None = None) -> Session:
        """A saved `FailureNetworkModel`, or an FMEA table with all its contradictions mended.

        Raises:
            FailureTableError: the table cannot be read, or (`InvalidTableError`, with the list) not be used, or
                its contradictions cannot be mended.
            FailureNetworkError: there is no valid network in the folder.
        """
        path = Path(path)
        if (path / "config.json").is_file():
            network = FailureNetworkModel.from_pretrained(path).network
            return cls(path.name, network, stage_order(network), None)
        reading = examine_table(path, semantics)
        table = reading.require()
        if len(table.failures) > MOST_FAILURES:
            raise FailureTableError(
                f"{path.name} holds {len(table.failures):,} failures; this page takes {MOST_FAILURES:,}: run "
                "`hub-models failure build` and `query` on your own machine"
            )
        review = Review.of(path, table, reading.problems)
        if review.problem:
            raise FailureTableError(f"{path.name}: {review.problem}")
        network = build_network(review.repaired)
        return cls(path.name, network, table.stages or stage_order(network), review)

    def keeping(self, kept: Collection[str]) -> Session:
        """With these numbers as the experts gave them, and others in their place mended.

        Where that cannot be, the network stays as it is, and the review says why.
        """
        if self.review is None:
            return self
        review = self.review.keeping(kept)
        network = self.network if review.problem else build_network(review.repaired)
        return replace(self, network=network, review=review)

    def choices(self) -> list[tuple[str, str]]:
        """(label, name) of every failure, from the end of the process, where failures are noticed, to its start."""
        order = {stage: number for number, stage in enumerate(self.stages)}
        placed = [(name, self.network.stage(i)) for i, name in enumerate(self.network.names)]
        placed.sort(key=lambda each: (-order.get(each[1], -1), each[0]))
        return [(f"{name} ({stage})" if stage else name, name) for name, stage in placed]

    def example(self) -> list[str]:
        """Two failures without effects that have the most causes."""
        final = np.setdiff1d(np.arange(len(self.network)), self.network.cause)
        causes = {int(i): len(self.network.ancestors([i])) for i in final}
        chosen = sorted(causes, key=lambda i: (-causes[i], i))[:2]
        return [self.network.names[i] for i in chosen]

    def diagnose(
        self, present: Sequence[str], absent: Sequence[str] = (), fixed: Sequence[str] = ()
    ) -> Diagnosis:
        """Root causes of the failures that are present, given others that are absent.

        Raises:
            FailureNetworkError: the observations contradict each other or the network; `NothingLeftError` if only
                with the fixed causes.
        """
        network, evidence = self.network, read_evidence(self.network, present, absent)
        remaining = None
        posterior = infer(network, evidence, PRECISION, TIME_LIMIT)
        if fixed:
            network = network.fixed(absent=network.positions(fixed))
            before = posterior
            try:
                posterior = infer(network, evidence, PRECISION, TIME_LIMIT)
            except FailureNetworkError as error:
                raise NothingLeftError(str(error)) from None
            remaining = _ratio(posterior, before)
        ranked = posterior.ranked()
        causes = tuple(each for each in ranked if each.name not in fixed)[:SHOWN_CAUSES]
        found = find_links(network, evidence)
        paths = strongest_paths(found.links, [each.name for each in causes[:DRAWN_CAUSES]], present)
        return Diagnosis(
            present=tuple(present),
            absent=tuple(absent),
            fixed=tuple(fixed),
            posterior=posterior,
            causes=causes,
            paths=tuple(map(tuple, paths)),
            unnamed=found.unnamed,
            inspections=_worth_a_look(network, evidence),
            remaining=remaining,
        )


def stage_order(network: NoisyOr) -> tuple[str, ...]:
    """Stages so that causes come before effects, as far as the network allows; else as they first appear."""
    stages = [network.stage(int(i)) for i in network.order]
    first = {stage: number for number, stage in reversed(list(enumerate(stages))) if stage}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(first)
    for cause, effect in zip(network.cause.tolist(), network.effect.tolist(), strict=True):
        before, after = network.stage(cause), network.stage(effect)
        if before and after and before != after:
            graph.add_edge(before, after)
    if nx.is_directed_acyclic_graph(graph):
        return tuple(nx.lexicographical_topological_sort(graph, key=lambda stage: first[stage]))
    return tuple(sorted(first, key=lambda stage: first[stage]))


def _worth_a_look(network: NoisyOr, evidence: Evidence) -> tuple[Inspection, ...]:
    found = inspection_values(network, evidence, samples=4096)
    return tuple(each for each in found if each.information > 0)[:SHOWN_INSPECTIONS]


def _ratio(after: Posterior, before: Posterior) -> tuple[float, float, float]:
    """Probability of the evidence after / before; its interval by the delta method on effective samples."""
    log = after.log_evidence - before.log_evidence
    spread = 1.96 * math.sqrt(1 / after.effective_samples + 1 / before.effective_samples)
    return math.exp(log), math.exp(log - spread), math.exp(log + spread)
