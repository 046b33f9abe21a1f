"""``hub-models failure query`` and ``explain``."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Json, print_json

if TYPE_CHECKING:
    from ..modeling_failure_network import FailureNetworkModel

Network = Annotated[
    str, typer.Argument(help="A folder that `hub-models failure build` made, or a network of the zoo.")
]
Present = Annotated[list[str] | None, typer.Option(help="A failure that was observed; once for each.")]
Absent = Annotated[
    list[str] | None, typer.Option(help="A failure that is certainly not there; once for each.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same samples.")]
Top = Annotated[int, typer.Option(min=1, help="How many to show; JSON of `query` holds all.")]


def query(
    network: Network,
    present: Present = None,
    absent: Absent = None,
    precision: Annotated[float, typer.Option(help="Half width of the 95 % intervals to reach.")] = 0.01,
    time_limit: Annotated[float, typer.Option(help="Seconds after which it is answered as it is.")] = 10.0,
    effects: Annotated[
        bool, typer.Option("--effects", help="Rank all failures, not only those without causes.")
    ] = False,
    top: Top = 10,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Rank the causes of what was observed, with an interval each."""
    model = _load(network)
    answer = model.posterior(present or (), absent or (), precision, time_limit, seed)
    ranked = answer.ranked(roots_only=not effects)
    for warning in answer.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print_json(
            {
                "network": network,
                "present": present or [],
                "absent": absent or [],
                "method": answer.method,
                "log10_evidence": _number(answer.log_evidence / math.log(10)),
                "effective_samples": _number(answer.effective_samples),
                "pareto_k": _number(answer.pareto_k),
                "precision": answer.precision,
                "seconds": answer.seconds,
                "warnings": answer.warnings,
                "ranked": [asdict(record) for record in ranked],
            }
        )
        return
    for record in ranked[:top]:
        interval = "" if record.low == record.high else f" [{record.low:.3f}, {record.high:.3f}]"
        print(
            f"{record.probability:.3f}{interval}  {_named(record.name, record.stage)}, before {record.prior:.2g}"
        )
    samples = (
        "" if math.isinf(answer.effective_samples) else f", {answer.effective_samples:,.0f} effective samples"
    )
    print(f"{answer.method}{samples}, {answer.seconds:.2f} s")


def explain(
    network: Network,
    present: Present = None,
    absent: Absent = None,
    cause: Annotated[
        str | None, typer.Option(help="Whose numbers to weigh; by default the top cause's.")
    ] = None,
    top: Top = 5,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """The most probable course of events, what to inspect next, and which numbers the verdict hangs on."""
    model = _load(network)
    observed = (present or (), absent or ())
    course = model.most_probable_explanation(*observed, seed=seed)
    inspections = model.inspection_values(*observed, seed=seed)[:top]
    numbers = model.sensitivities(*observed, cause=cause, seed=seed)[:top]
    if as_json:
        print_json(
            {
                "network": network,
                "present": present or [],
                "absent": absent or [],
                "most_probable": asdict(course),
                "inspect_next": [asdict(each) for each in inspections],
                "hangs_on": [asdict(each) for each in numbers],
            }
        )
        return
    known = "most probable course" if course.exact else "most probable course that was found"
    print(f"{known}: {', '.join(course.present) or 'nothing fails'}")
    print("inspect next:")
    for each in inspections:
        print(
            f"  {each.information:.3f} bit  {_named(each.name, each.stage)}, present with {each.probability:.3f}"
        )
    print("the verdict hangs on:")
    for number in numbers:
        what = number.failure if number.cause is None else f"{number.cause} -> {number.failure}"
        print(f"  {number.slope:+.3f} per unit of log-odds  {what}, now {number.number:.3g}")


def _load(network: str) -> FailureNetworkModel:
    """A network as its own class.

    Raises:
        CheckpointError: there is none of this name, or a file is altered.
        FailureNetworkError: the model is no failure network.
    """
    import torch

    from .. import zoo
    from ..errors import FailureNetworkError
    from ..manifest import check_manifest
    from ..modeling_failure_network import FailureNetworkModel

    folder = Path(network)
    if not folder.is_dir():
        model = zoo.load(network)
    else:
        check_manifest(folder)
        hide_progress_bars()
        model = FailureNetworkModel.from_pretrained(folder, dtype=torch.float64)
    if not isinstance(model, FailureNetworkModel):
        raise FailureNetworkError(f"{network} is no failure network; see `hub-models list`")
    return model


def hide_progress_bars() -> None:
    """Of transformers; a network is read and written in an instant."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def _named(name: str, stage: str) -> str:
    return f"{name} ({stage})" if stage else name


def _number(value: float) -> Any:
    return value if math.isfinite(value) else None
