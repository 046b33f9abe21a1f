"""README tables of the failure networks' benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

METHODS = {"numpy": "numpy", "compiled": "numba"}


def accuracy_rows(benchmark: dict[str, Any]) -> list[list[str]]:
    """Each kind of evidence: the worst error over all root posteriors and networks, by method and time."""
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for line in benchmark["accuracy"]:
        groups.setdefault((line["case"], line["method"], line["limit_s"]), []).append(line)
    rows = [["evidence", "method", "seconds", "worst error", "log10 P(evidence)", "fewest effective samples"]]
    for (case, method, limit), lines in groups.items():
        rows.append(
            [
                case,
                METHODS[method],
                f"{limit:g}",
                f"{max(line['error'] for line in lines):.4f}",
                _span([line["log10_evidence"] for line in lines]),
                f"{min(line['effective'] for line in lines):,}",
            ]
        )
    return rows


def second_opinion(benchmark: dict[str, Any]) -> str:
    """How far the truth is from a sampler that shares nothing with ours, in a sentence."""
    lines = benchmark["second"]
    largest = max(line["largest_difference"] for line in lines)
    networks = len({line["seed"] for line in lines})
    return (
        f"On {len(lines)} cases of {networks} network{'s' if networks > 1 else ''} a sampler that shares nothing "
        f"with it (forward, tilted by loopy belief propagation) differs from that truth by at most {largest:.4f}."
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
