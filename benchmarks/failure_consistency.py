"""Contradictions in expert numbers: found, missed, undecided, mended, and how long that takes.

    python benchmarks/failure_consistency.py [--quick] [--json]

The battery table, repaired, is grown to 600 failures and 2,100 relations and rated anew by two experts without
contradictions. Then:

- planted: 20 effects are stated rarer than one of their causes alone makes them. How many of them are found, what
  else is blamed, and how far the two repairs go (squared change of log-odds) against what was planted: a, the closest
  probabilities; b, a genetic algorithm on the ratings, the closest ratings;
- jittered: every occurrence is multiplied by a random factor (log-normal, 0.5), so that about half of the effects
  contradict their causes, many by little. How many verdicts the bounds leave open, and how many certified ones a
  plain forward simulation of 100,000 runs disagrees with by more than four standard errors.

The table itself (hand-made, contradictions of the kind people make) is checked and repaired as well. Written, but for
--quick, to benchmarks/results/failure_consistency.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from report_files import as_text, provenance

from hub_models.atomic import write_text
from hub_models.cli.options import print_json, print_table
from hub_models.failure.build import build_network
from hub_models.failure.certificates import Certificate, certify
from hub_models.failure.confirmation import is_open, settle
from hub_models.failure.consistency import check_consistency
from hub_models.failure.records import FailureTable
from hub_models.failure.repair import Repair, distance, optimised, repair
from hub_models.failure.repair_genetic import evolved
from hub_models.failure.repair_report import changes_of
from hub_models.failure.statements import Statements, combine
from hub_models.failure.synthetic import grow
from hub_models.failure.synthetic_tables import elicited, plant_contradictions
from hub_models.failure.table import read_table
from hub_models.noisy_or import NoisyOr

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "datasets_scripts" / "battery_fmea"
RESULTS = ROOT / "benchmarks" / "results" / "failure_consistency.json"
FAILURES, RELATIONS, PLANTED = 600, 2_100, 20
SOLVERS = {"a: closest probabilities": optimised, "b: genetic, ratings": evolved}
Value = TypeVar("Value")


def timed(work: Callable[[], Value]) -> tuple[Value, float]:
    start = time.perf_counter()
    value = work()
    return value, time.perf_counter() - start


def repairs(table: FailureTable, planted: float | None) -> list[dict[str, Any]]:
    """Both repairs of one table; ``planted``: distance to the table before contradictions were planted."""
    lines = []
    for name, solver in SOLVERS.items():
        result, seconds = timed(lambda solver=solver: repair(table, solver))
        lines.append(
            {
                "repair": name,
                "distance": result.distance,
                "of_planted": None if planted is None else result.distance / planted,
                "numbers_changed": len(changes_of(result)),
                "of_numbers": len(result.constraints) and _free(result),
                "findings_left": len(check_consistency(result.after).findings),
                "seconds": seconds,
            }
        )
    return lines


def _free(result: Repair) -> int:
    """How many experts' numbers take part in a violated condition."""
    statements = combine(result.before)
    nodes = {i for each in result.constraints for i in (each.effect, *each.causes.tolist())}
    edges = {edge for each in result.constraints for edge in each.edges.tolist()}
    failures = [result.before.failures[statements.failure_row[i]].occurrence for i in nodes]
    relations = [result.before.relations[statements.relation_row[edge]].trigger for edge in edges]
    return sum(map(len, failures + relations))


def planted(network: NoisyOr, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    clean = elicited(network, seed=seed)
    table, names = plant_contradictions(clean, PLANTED, seed)
    before = {finding.failure for finding in check_consistency(clean).findings}
    report, seconds = timed(lambda: check_consistency(table, seed))
    found = {finding.failure for finding in report.findings if not finding.undecided}
    line = {
        "seed": seed,
        "planted": len(names),
        "found": len(found & set(names)),
        "false_alarms": len(found - set(names)),
        "before_planting": len(before),
        "left_open_by_bounds": report.looked_into,
        "undecided": report.undecided,
        "checked": report.checked,
        "seconds": seconds,
    }
    return line, [{"seed": seed, **each} for each in repairs(table, distance(clean, table))]


def jittered(network: NoisyOr, seed: int) -> dict[str, Any]:
    statements = combine(elicited(network, seed=seed))
    factors = np.exp(np.random.default_rng(seed).normal(0, 0.5, len(statements.names)))
    statements = replace(statements, occurrence=np.minimum(statements.occurrence * factors, 0.9))
    certificate, seconds = timed(lambda: certify(statements))
    settled, settling = timed(lambda: settle(statements, certificate, seed))
    effects = len(np.unique(statements.effect))
    return {
        "seed": seed,
        "effects": effects,
        "inconsistent": int(certificate.inconsistent.sum()),
        "left_open_by_bounds": int(certificate.undecided.sum()),
        "share": float(certificate.undecided.sum() / effects),
        "undecided": sum(is_open(statements.occurrence[i], each) for i, each in settled.items()),
        "certified_wrong": disagreements(statements, certificate, seed),
        "seconds": seconds,
        "settling_seconds": settling,
    }


def disagreements(statements: Statements, certificate: Certificate, seed: int, runs: int = 100_000) -> int:
    """Certified verdicts that a simulation contradicts by more than four standard errors."""
    generator = np.random.default_rng([seed, 1])
    first, n = statements.first, len(statements.names)
    on = np.zeros((n, runs), dtype=bool)
    wrong = 0
    for i in range(n):
        edges = slice(first[i], first[i + 1])
        silent = np.ones(runs)
        for cause, q in zip(
            statements.cause[edges].tolist(), statements.trigger[edges].tolist(), strict=True
        ):
            silent[on[cause]] *= 1 - q
        implied, error = 1 - silent.mean(), silent.std() / runs**0.5
        stated = statements.occurrence[i]
        if edges.stop > edges.start:
            wrong += bool(certificate.inconsistent[i] and stated > implied + 4 * error + 1e-12)
            wrong += bool(certificate.consistent[i] and stated < implied - 4 * error - 1e-12)
        leak = max(0.0, 1 - (1 - max(stated, implied)) / (1 - implied))
        on[i] = generator.random(runs) > silent * (1 - leak)
    return wrong


def run(seeds: int) -> dict[str, Any]:
    table = read_table(TABLE)
    mended = repair(table)
    base = build_network(mended.after)
    hand_made, seconds = timed(lambda: check_consistency(table))
    found, mending, jitter = [], [], []
    for seed in range(seeds):
        network = grow(base, FAILURES, RELATIONS, seed)
        line, lines = planted(network, seed)
        found.append(line)
        mending += lines
        jitter.append(jittered(network, seed))
    return _rounded(
        {
            **provenance("python benchmarks/failure_consistency.py", "numpy", "scipy"),
            "failures": FAILURES,
            "relations": RELATIONS,
            "battery_table": {
                "failures": len(table.failures),
                "relations": len(table.relations),
                "contradictions": len(hand_made.findings),
                "undecided": hand_made.undecided,
                "seconds": seconds,
            },
            "battery_repairs": repairs(table, None),
            "planted": found,
            "repairs": mending,
            "jittered": jitter,
        }
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one network; writes nothing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    report = run(1 if arguments.quick else 5)
    if arguments.json:
        print_json(report)
    else:
        print(f"{report['failures']} failures, {report['relations']} relations, {report['machine']}")
        print_table([report["battery_table"]], title="The battery table")
        for key in ("battery_repairs", "planted", "repairs", "jittered"):
            print_table(report[key], title=key.replace("_", " "))
    if not arguments.quick:
        write_text(RESULTS, as_text(report))
        print(f"wrote {RESULTS.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
