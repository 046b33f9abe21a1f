"""Tables of the failure networks' benchmarks, from result files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

METHODS = {"numpy": "numpy", "compiled": "numba"}


def accuracy_rows(benchmark: dict[str, Any]) -> list[list[str]]:
    """Each kind of evidence: the worst over all root posteriors and networks, by method and time."""
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for line in [*benchmark["accuracy"], *benchmark["scale"]]:
        groups.setdefault((line["case"], line["method"], line["limit_s"]), []).append(line)
    rows = [
        [
            "evidence",
            "method",
            "seconds",
            "worst error",
            "first cause right",
            "of the first five",
            "log10 P(evidence)",
            "fewest effective samples",
            "largest Pareto k",
        ]
    ]
    for (case, method, limit), lines in groups.items():
        rows.append(
            [
                case,
                METHODS[method],
                f"{limit:g}",
                f"{max(line['error'] for line in lines):.4f}",
                f"{sum(line['top_is_right'] for line in lines)} of {len(lines)}",
                f"{min(line['top5_overlap'] for line in lines)}",
                _span([line["log10_evidence"] for line in lines]),
                f"{min(line['effective'] for line in lines):,}",
                f"{max(line['pareto_k'] for line in lines):.2f}",
            ]
        )
    return rows


def second_opinion(benchmark: dict[str, Any]) -> str:
    """What the truth is and how far it can be trusted, in a sentence."""
    lines = {(line["case"], line["seed"]): line for line in [*benchmark["accuracy"], *benchmark["scale"]]}
    exact = sum(line["truth"] == "exact" for line in lines.values())
    loose = {key: line["truth_error"] for key, line in lines.items() if line["truth_error"] > 0.000505}
    first = f"{exact} of the {len(lines)} truths are exact; " if exact else ""
    rest = "; ".join(f"{case}, network {seed}: {error:.4f}" for (case, seed), error in loose.items())
    return (
        f"{first}{len(lines) - exact} of {len(lines)} truths come from a second sampler that shares no code with ours "
        "(forward, tilted by loopy belief propagation), run to a standard error of 0.0005"
        + (f"; where 90 seconds did not do for that: {rest}." if loose else ".")
    )


def peer_rows(benchmark: dict[str, Any]) -> list[list[str]]:
    """Every contender on every network: error against the truth and seconds, or why it failed."""
    sizes = sorted({(line["failures"], line["edges"]) for line in benchmark["peers"]})
    rows = [["", *(f"{failures} failures, {edges} relations" for failures, edges in sizes)]]
    for case in dict.fromkeys(line["case"] for line in benchmark["peers"]):
        found = {
            (line["failures"], line["edges"]): line for line in benchmark["peers"] if line["case"] == case
        }
        rows.append([case, *(_peer(found.get(size)) for size in sizes)])
    return rows


def _peer(line: dict[str, Any] | None) -> str:
    if line is None:
        return ""
    if "error" not in line:
        return f"fails: {line['fails'].split(':')[0].rpartition('.')[2][:40]}"
    return f"{line['error']:.4f} in {line['seconds']:.2f} s"


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{high:.1f}" if low == high else f"{low:.1f} to {high:.1f}"
