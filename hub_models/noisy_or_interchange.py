"""Failure networks to and from pgmpy, pyAgrum and networkx, each needed only for its own functions. Published code.

States are "absent" and "present", in this order. pgmpy knows only full tables, so it gets failures of up to 15 causes;
pyAgrum gets the noisy-OR itself, with its `addNoisyORNet`, where a weight is the trigger alone (`addNoisyOR` would
take it as the probability with the leak included, and give other posteriors silently).
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from .errors import FailureNetworkError, MissingExtraError
from .noisy_or import NoisyOr
from .noisy_or_full_tables import BinaryTable, network_of, tables_of

ABSENT, PRESENT = "absent", "present"
#: What the present state of a failure may be called in networks that others made.
PRESENT_WORDS = frozenset(
    {"present", "true", "yes", "on", "1", "t", "y", "fail", "failed", "failure", "fault"}
)


def to_pgmpy(network: NoisyOr) -> Any:
    """A pgmpy ``DiscreteBayesianNetwork`` with full tables.

    Raises:
        FailureNetworkError: names the failures with more than 15 causes.
        MissingExtraError: pgmpy is not installed.
    """
    tables = tables_of(network)
    factors, models = _needed("pgmpy.factors.discrete", "pgmpy"), _needed("pgmpy.models", "pgmpy")
    bayes = models.DiscreteBayesianNetwork()
    bayes.add_nodes_from([table.name for table in tables])
    bayes.add_edges_from([(cause, table.name) for table in tables for cause in table.causes])
    for table in tables:
        row = table.present.reshape(1, -1)
        names = [table.name, *table.causes]
        cpd = factors.TabularCPD(
            table.name,
            2,
            np.concatenate([1 - row, row]),
            evidence=list(table.causes) or None,
            evidence_card=[2] * len(table.causes) or None,
            state_names={name: [ABSENT, PRESENT] for name in names},
        )
        bayes.add_cpds(cpd)
    return bayes


def from_pgmpy(bayes: Any, present: Mapping[str, str] | None = None) -> NoisyOr:
    """The network of a pgmpy network whose tables are leaky noisy-ORs.

    Args:
        present: failure -> name of its present state, where that is not a word like "present", "true" or "yes".

    Raises:
        FailureNetworkError: names failures that are not binary, whose present state is unclear, or whose table is
            no noisy-OR.
    """
    tables = []
    for cpd in bayes.get_cpds():
        names = list(cpd.variables)
        values = np.asarray(cpd.values, dtype=np.float64)
        for axis, name in enumerate(names):
            at = present_state(name, [str(state) for state in cpd.state_names[name]], present)
            values = values if at else np.flip(values, axis)
        tables.append(BinaryTable(str(names[0]), tuple(str(name) for name in names[1:]), values[1]))
    return network_of(tables)


def present_state(name: str, states: list[str], present: Mapping[str, str] | None = None) -> int:
    """0 or 1: which of two states means that the failure is present.

    Raises:
        FailureNetworkError: there are not two, or neither or both could be meant.
    """
    if len(states) != 2:
        raise FailureNetworkError(f"{name!r} has {len(states)} states; failures have two")
    wanted = (present or {}).get(name)
    if wanted is not None:
        if wanted not in states:
            raise FailureNetworkError(f"{name!r} has no state {wanted!r}, only {states}")
        return states.index(wanted)
    words = [state.lower() in PRESENT_WORDS for state in states]
    if sum(words) != 1:
        raise FailureNetworkError(
            f"which state of {name!r} means present, {states[0]!r} or {states[1]!r}? Say so: "
            f"present={{{name!r}: {states[1]!r}}}"
        )
    return words.index(True)


def to_pyagrum(network: NoisyOr) -> Any:
    """A pyAgrum ``BayesNet`` with noisy-OR nodes, whatever the number of causes.

    Raises:
        MissingExtraError: pyAgrum is not installed.
    """
    gum = _needed("pyagrum", "pyagrum")
    bayes = gum.BayesNet()
    for i in network.order.tolist():
        variable = gum.LabelizedVariable(network.names[i], network.names[i], [ABSENT, PRESENT])
        if network.is_root[i]:
            bayes.add(variable)
            bayes.cpt(network.names[i]).fillWith([1 - network.leak[i], network.leak[i]])
        else:
            bayes.addNoisyORNet(variable, float(network.leak[i]))
    for cause, effect, q in zip(network.cause, network.effect, network.trigger, strict=True):
        bayes.addWeightedArc(network.names[cause], network.names[effect], float(q))
    return bayes


def to_networkx(network: NoisyOr) -> Any:
    """A networkx ``DiGraph``: nodes carry ``leak`` and ``stage``, edges ``trigger``.

    Raises:
        MissingExtraError: networkx is not installed.
    """
    graph = _needed("networkx", "networkx").DiGraph()
    for i, name in enumerate(network.names):
        graph.add_node(name, leak=float(network.leak[i]), stage=network.stage(i))
    for cause, effect, q in zip(network.cause, network.effect, network.trigger, strict=True):
        graph.add_edge(network.names[cause], network.names[effect], trigger=float(q))
    return graph


def from_networkx(graph: Any) -> NoisyOr:
    """The network of a directed graph with the attributes that `to_networkx` writes; ``stage`` may be missing.

    Raises:
        FailureNetworkError: names the node or edge that lacks a number.
    """
    leak, stages, edges = {}, {}, []
    for name, data in graph.nodes(data=True):
        if "leak" not in data:
            raise FailureNetworkError(
                f"node {name!r} has no attribute leak; give its probability without causes"
            )
        leak[str(name)] = data["leak"]
        stages[str(name)] = data.get("stage", "")
    for cause, effect, data in graph.edges(data=True):
        if "trigger" not in data:
            raise FailureNetworkError(f"edge {cause!r} -> {effect!r} has no attribute trigger")
        edges.append((str(cause), str(effect), data["trigger"]))
    named = stages if any(stages.values()) else None
    return NoisyOr.from_edges(edges, leak, named)


def _needed(module: str, package: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of pgmpy's own imports
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"this needs {package}: pip install {package}") from error
