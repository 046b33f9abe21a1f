"""One contender on one network, in a process of its own, so that it can be stopped and its memory limited.

    python benchmarks/failure_peers.py CONTENDER FOLDER SECONDS

FOLDER holds a saved `FailureNetworkModel` and evidence.json. Prints one line of JSON: seconds (building the
library's own network included, imports not), posteriors of the root causes by name, effective sample size if known.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hub_models.modeling_failure_network import FailureNetworkModel

SAMPLES = 10_000

#: Posterior of each root cause that was asked for, and the effective sample size.
Answer = tuple[dict[str, float], float | None]


def ours(
    model: FailureNetworkModel, present: list[str], absent: list[str], seconds: float, **how: Any
) -> Answer:
    answer = model.posterior(present, absent, precision=0.0, time_limit=min(seconds, 1.0), **how)
    size = answer.effective_samples
    return {r.name: r.probability for r in answer if r.is_root}, size if np.isfinite(size) else None


def ours_exact(model: FailureNetworkModel, present: list[str], absent: list[str], seconds: float) -> Answer:
    return ours(model, present, absent, seconds, exact=True)


def ours_sampled(model: FailureNetworkModel, present: list[str], absent: list[str], seconds: float) -> Answer:
    return ours(model, present, absent, seconds, exact=False, compiled=False)


def ours_compiled(
    model: FailureNetworkModel, present: list[str], absent: list[str], seconds: float
) -> Answer:
    return ours(model, present, absent, seconds, exact=False, compiled=True)


def pgmpy_elimination(
    model: FailureNetworkModel, present: list[str], absent: list[str], seconds: float
) -> Answer:
    """One root cause only: all would take as many times longer."""
    from pgmpy.inference import VariableElimination

    engine = VariableElimination(model.to_pgmpy())
    root = _a_cause(model, present)
    found = engine.query([root], evidence=_states(present, absent), show_progress=False)
    return {root: float(found.get_value(**{root: "present"}))}, None


def pgmpy_rejection(
    model: FailureNetworkModel, present: list[str], absent: list[str], seconds: float
) -> Answer:
    from pgmpy.inference import ApproxInference

    root = _a_cause(model, present)
    engine = ApproxInference(model.to_pgmpy())
    found = engine.query(
        [root], n_samples=SAMPLES, evidence=_states(present, absent), seed=0, show_progress=False
    )
    return {root: float(found.get_value(**{root: "present"}))}, None


def pgmpy_weighting(
    model: FailureNetworkModel, present: list[str], absent: list[str], seconds: float
) -> Answer:
    from pgmpy.factors.discrete import State
    from pgmpy.sampling import BayesianModelSampling

    evidence = [State(name, state) for name, state in _states(present, absent).items()]
    drawn = BayesianModelSampling(model.to_pgmpy()).likelihood_weighted_sample(
        evidence=evidence, size=SAMPLES, seed=0, show_progress=False
    )
    weight = drawn["_weight"].to_numpy()
    if weight.sum() == 0:
        raise ValueError("every weight is 0")
    roots = _roots(model)
    posterior = {
        root: float(weight[(drawn[root] == "present").to_numpy()].sum() / weight.sum()) for root in roots
    }
    return posterior, float(weight.sum() ** 2 / (weight**2).sum())


def _pyagrum(engine_name: str) -> Callable[[FailureNetworkModel, list[str], list[str], float], Answer]:
    def run(model: FailureNetworkModel, present: list[str], absent: list[str], seconds: float) -> Answer:
        import pyagrum

        network = model.to_pyagrum()
        engine = getattr(pyagrum, engine_name)(network)
        if hasattr(engine, "setMaxTime"):
            engine.setMaxTime(seconds * 0.8)
            engine.setEpsilon(1e-9)
        engine.setEvidence(
            {name: int(state == "present") for name, state in _states(present, absent).items()}
        )
        engine.makeInference()
        return {root: float(engine.posterior(root)[1]) for root in _roots(model)}, None

    return run


CONTENDERS: dict[str, Callable[[FailureNetworkModel, list[str], list[str], float], Answer]] = {
    "ours, exact": ours_exact,
    "ours, sampled 1 s": ours_sampled,
    "ours, compiled 1 s": ours_compiled,
    "pgmpy VariableElimination, one cause": pgmpy_elimination,
    "pgmpy ApproxInference, one cause": pgmpy_rejection,
    "pgmpy likelihood weighting, 10k": pgmpy_weighting,
    "pyAgrum LazyPropagation": _pyagrum("LazyPropagation"),
    "pyAgrum LoopyBeliefPropagation": _pyagrum("LoopyBeliefPropagation"),
    "pyAgrum WeightedSampling": _pyagrum("WeightedSampling"),
    "pyAgrum ImportanceSampling": _pyagrum("ImportanceSampling"),
    "pyAgrum GibbsSampling": _pyagrum("GibbsSampling"),
}


def _roots(model: FailureNetworkModel) -> list[str]:
    network = model.network
    return [network.names[i] for i in np.flatnonzero(network.is_root)]


def _a_cause(model: FailureNetworkModel, present: list[str]) -> str:
    """A root cause that can have caused the evidence."""
    network = model.network
    causes = [i for i in network.ancestors(network.positions(present)) if network.is_root[i]]
    return network.names[max(causes, key=lambda i: network.leak[i])]


def _states(present: list[str], absent: list[str]) -> dict[str, str]:
    return dict.fromkeys(present, "present") | dict.fromkeys(absent, "absent")


def _warm_up(contender: str) -> None:
    """Imports and compiles, on two failures."""
    model = FailureNetworkModel.from_edges([("a", "b", 0.5)], {"a": 0.1, "b": 0.1})
    CONTENDERS[contender](model, ["b"], [], 0.05)


def main() -> None:
    warnings.simplefilter("ignore")
    contender, folder, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    evidence = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    model = FailureNetworkModel.from_pretrained(folder)
    _warm_up(contender)
    start = time.perf_counter()
    posterior, effective = CONTENDERS[contender](model, evidence["present"], evidence["absent"], seconds)
    took = time.perf_counter() - start
    print(json.dumps({"seconds": took, "effective": effective, "posterior": posterior}))


if __name__ == "__main__":
    main()
