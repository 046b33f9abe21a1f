"""``hub-models failure template``, ``check``, ``repair`` and ``build``; questions to a network: `failure_answers`."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import failure_answers
from .options import Json, print_json

if TYPE_CHECKING:
    from ..failure.consistency import Consistency, Finding
    from ..failure.experts import Disagreement
    from ..failure.records import FailureTable, Problem, Semantics

app = typer.Typer(
    help="Failure networks: FMEA tables in, contradictions found and mended, root causes out.",
    no_args_is_help=True,
)
app.command()(failure_answers.query)
app.command()(failure_answers.explain)


class Meaning(StrEnum):
    """Of a relation's number; see `hub_models.failure.records.FailureTable`."""

    diez = "diez"
    henrion = "henrion"


class Method(StrEnum):
    """Of a repair."""

    optimised = "optimised"
    genetic = "genetic"


Table = Annotated[Path, typer.Argument(help="FMEA table: XLSX, CSV, JSON, or a folder of CSV files.")]
Stated = Annotated[
    Meaning | None,
    typer.Option(
        "--semantics",
        help="What the numbers of relations mean, if the table does not say. diez: how often the cause by itself "
        "triggers the effect; henrion: how often the effect occurs where the cause is present.",
    ),
]


@app.command()
def template(
    output: Annotated[Path, typer.Argument(help="The .xlsx file to write.")],
    semantics: Annotated[Meaning, typer.Option(help="Which question the experts are asked.")],
    expert: Annotated[
        list[str] | None, typer.Option(help="Name of an expert; give it once for each.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the workbook that an engineer fills in, with one worked example."""
    from ..failure.template import QUESTIONS, write_template

    experts = expert or ["Expert 1", "Expert 2"]
    write_template(output, semantics.value, experts)
    if as_json:
        question = QUESTIONS[semantics.value]
        print_json({"template": output, "experts": experts, "semantics": semantics, "question": question})
    else:
        print(
            f"{output}: the sheet Instructions says how to fill it in\nnext: hub-models failure check {output}"
        )


@app.command()
def check(table: Table, semantics: Stated = None, as_json: Json = False) -> None:
    """List every problem of a table, contradictions between its numbers included.

    Exit status 1 if no network can be built from it as it is.
    """
    from ..failure.consistency import check_consistency
    from ..failure.table import examine_table

    reading = examine_table(table, _value(semantics))
    consistency = check_consistency(reading.table) if reading.usable else None
    if as_json:
        print_json(
            {
                "table": table,
                "usable": reading.usable,
                "problems": [_problem_record(problem) for problem in reading.problems],
                "consistency": None if consistency is None else _consistency_record(consistency),
            }
        )
    else:
        for problem in reading.problems:
            print(f"{'error' if problem.fatal else 'warning'}: {problem}")
        if consistency is None:
            print("numbers are compared once these errors are mended")
        else:
            _print_consistency(consistency, table)
    if consistency is None or not consistency.consistent:
        raise typer.Exit(1)


@app.command()
def repair(
    table: Table,
    output: Annotated[
        Path,
        typer.Option(
            help="Where the repaired table goes: .xlsx (a copy of an XLSX, with marks), or a folder of CSV files."
        ),
    ],
    method: Annotated[
        Method, typer.Option(help="optimised: the closest probabilities; genetic: the closest ratings.")
    ] = Method.optimised,
    report: Annotated[
        Path | None, typer.Option(help="Also write the list of changes as an HTML page.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            help="A number that must not change: the name of a failure, or 'cause -> effect'. Give it once for each."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the genetic algorithm, and of samples.")] = 0,
    semantics: Stated = None,
    as_json: Json = False,
) -> None:
    """Find the closest numbers that do not contradict each other, weighted by trust."""
    from functools import partial

    from ..failure import repair as repairing
    from ..failure.repair_genetic import evolved
    from ..failure.repair_report import changes_of, save_html

    read = _read(table, semantics)
    solver = repairing.optimised if method is Method.optimised else partial(evolved, seed=seed)
    result = repairing.repair(read, solver, seed, keep or ())
    changes = changes_of(result)
    _write_repaired(table, output, result.after, changes)
    if report is not None:
        save_html(changes, report, f"Repaired numbers of {table.name}")
    if as_json:
        records = [change.record() for change in changes]
        head = {"output": output, "method": method, "kept": keep or [], "distance": result.distance}
        print_json({**head, "changes": records})
        return
    for change in changes:
        old = (
            f"{change.old:.3g}"
            if change.old_rating is None
            else f"{change.old:.3g} (rating {change.old_rating})"
        )
        new = f"{change.new:.3g} ({'' if change.exact else 'near '}rating {change.new_rating})"
        print(f"{change.place}: {change.kind} of {change.what}: {old} -> {new}; {change.reason}")
    print(
        f"{output}: {len(changes)} numbers changed\nnext: hub-models failure build {output} --output DIRECTORY"
    )


@app.command()
def build(
    table: Table,
    output: Annotated[Path, typer.Option(help="Folder for the network, a model like every other here.")],
    semantics: Stated = None,
    as_json: Json = False,
) -> None:
    """Make a network of a table without contradictions."""
    from ..failure.build import build_network
    from ..manifest import write_manifest
    from ..modeling_failure_network import FailureNetworkModel
    from ..repository import replace_folder

    network = build_network(_read(table, semantics))
    model = FailureNetworkModel.from_network(network, source=table.name)
    failure_answers.hide_progress_bars()
    with replace_folder(output) as folder:
        model.save_pretrained(folder)
        write_manifest(folder, {"name": output.name, "source": table.name})
    if as_json:
        print_json({"network": output, "failures": len(network), "relations": len(network.cause)})
    else:
        print(f"{output}: {len(network):,} failures, {len(network.cause):,} relations")
        print(f"next: hub-models failure query {output} --present NAME")


def _write_repaired(source: Path, output: Path, after: FailureTable, changes: list[Any]) -> None:
    from ..failure.table_writing import write_table
    from ..failure.write_back import write_back

    if source.suffix.lower() == output.suffix.lower() == ".xlsx":
        write_back(source, changes, output)
    else:
        write_table(after, output)


def _read(table: Path, semantics: Meaning | None) -> FailureTable:
    from ..failure.table import read_table

    return read_table(table, _value(semantics))


def _value(semantics: Meaning | None) -> Semantics | None:
    return None if semantics is None else semantics.value


def _problem_record(problem: Problem) -> dict[str, Any]:
    place = problem.place
    return {
        "kind": problem.kind,
        "level": "error" if problem.fatal else "warning",
        "sheet": place.sheet if place else None,
        "row": place.row if place else None,
        "column": place.column if place else None,
        "found": problem.found,
        "expected": problem.expected,
    }


def _consistency_record(consistency: Consistency) -> dict[str, Any]:
    return {
        "consistent": consistency.consistent,
        "checked": consistency.checked,
        "looked_into": consistency.looked_into,
        "undecided": consistency.undecided,
        "findings": [_finding_record(finding) for finding in consistency.findings],
        "disagreements": [_disagreement_record(each) for each in consistency.disagreements],
    }


def _finding_record(finding: Finding) -> dict[str, Any]:
    return asdict(finding) | {"places": [str(place) for place in finding.places], "text": str(finding)}


def _disagreement_record(each: Disagreement) -> dict[str, Any]:
    low, high = each.lowest, each.highest
    return {
        "what": each.what,
        "odds_ratio": each.odds_ratio,
        "lowest": {"expert": low.expert, "probability": low.probability, "place": str(low.place)},
        "highest": {"expert": high.expert, "probability": high.probability, "place": str(high.place)},
    }


def _print_consistency(consistency: Consistency, table: Path) -> None:
    for finding in consistency.findings:
        print(f"{'open' if finding.undecided else 'contradiction'}: {finding}")
        for place in finding.places[:4]:
            print(f"    {place}")
    for each in consistency.disagreements:
        low, high = each.lowest, each.highest
        print(
            f"disagreement: {each.what}: {low.expert} says {low.probability:.3g}, "
            f"{high.expert} says {high.probability:.3g}"
        )
    certain = sum(not finding.undecided for finding in consistency.findings)
    print(
        f"{consistency.checked} occurrences compared with their causes: {certain} contradictions, "
        f"{consistency.undecided} undecided, {len(consistency.disagreements)} disagreements of experts"
    )
    if certain:
        print(f"next: hub-models failure repair {table} --output FILE.xlsx")
