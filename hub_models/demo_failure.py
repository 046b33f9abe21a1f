"""The root-cause part of the demo: cells lose charge, and burr was seen; what caused it, and what to look at next?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .noisy_or_records import FailurePosterior
from .zoo import load

MODEL = "battery-failure-network"
OBSERVED = ("Burr on cut edge", "Self-discharge rate above limit")
SHOWN = 8


@dataclass(frozen=True)
class RootCauseSummary:
    """What the demo found.

    Attributes:
        failures, relations: size of the network.
        observed: the failures that were seen.
        method: ``exact`` or ``sampled``.
        causes: the most probable root causes, (name, probability, low, high), the likeliest first.
        inspect_next: the failure whose inspection tells most about the causes.
        picture: where the ranking can be seen.
    """

    model: str
    failures: int
    relations: int
    observed: tuple[str, ...]
    method: str
    causes: tuple[tuple[str, float, float, float], ...]
    inspect_next: str
    picture: str


def run_root_cause_demo(output: Path) -> RootCauseSummary:
    """Ask the battery network for the causes of two observed failures."""
    model = load(MODEL)
    network = model.network
    answer = model.posterior(present=OBSERVED)
    causes = answer.ranked()[:SHOWN]
    path = output / "root_causes.png"
    _save_picture(path, causes)
    return RootCauseSummary(
        model=MODEL,
        failures=len(network.names),
        relations=len(network.cause),
        observed=OBSERVED,
        method=answer.method,
        causes=tuple((c.name, c.probability, c.low, c.high) for c in causes),
        inspect_next=model.inspection_values(present=OBSERVED)[0].name,
        picture=str(path),
    )


def _save_picture(path: Path, causes: list[FailurePosterior]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axis = figure.subplots()
    rows = range(len(causes))
    values = [c.probability for c in causes]
    reach = [[c.probability - c.low for c in causes], [c.high - c.probability for c in causes]]
    axis.barh(rows, values, xerr=reach, color="#0f766e", ecolor="#334155", capsize=3)
    axis.plot(
        [c.prior for c in causes], rows, "|", color="#b45309", markersize=14, label="before any observation"
    )
    axis.set(yticks=list(rows), yticklabels=[f"{c.name} ({c.stage})" for c in causes])
    axis.set(
        xlabel="probability, with 95 % interval of the computation", title="Because: " + ", ".join(OBSERVED)
    )
    axis.invert_yaxis()
    axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
