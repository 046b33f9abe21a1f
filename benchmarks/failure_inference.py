"""Root causes in failure networks: how exact, how fast, and against pgmpy and pyAgrum.

    python benchmarks/failure_inference.py [--only PART] [--seed N] [--failures N] [--json]

- accuracy: 600 failures, about 2,300 relations. Three and five observed failures (one simulated cascade, any late
  ones, rare ones), 144 absent ones, all priors a hundredfold rarer; sampled within 1 s (2 s if rarer), compiled by
  numba within 1 s and 0.1 s;
- exact: time by induced width;
- scale: 5,000 failures with 20,000 relations, and twelve observed failures at once, in 5 s;
- peers: pgmpy and pyAgrum on the same networks, each in its own process with a limit of time and memory.

The truth comes from benchmarks/failure_truth.py, which shares no sampler with what is measured here. Setup is part of
every time; compiled runs follow one warm-up. Errors are the largest over all root causes. A run of one part or seed
replaces its own lines in benchmarks/results/failure_inference.json and keeps the others.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from failure_peers import CONTENDERS
from failure_scenarios import CASES, CAUSES, FAILURES, LARGE_CASES, Case, make_evidence, make_network
from failure_truth import find_truth, read_truths
from report_files import as_text, provenance

from hub_models.atomic import write_text
from hub_models.cli.options import print_json
from hub_models.modeling_failure_network import FailureNetworkModel
from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_evidence import Evidence, pose
from hub_models.noisy_or_exact import exact_plan
from hub_models.noisy_or_posterior import infer

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "failure_inference.json"
PEER_SECONDS, PEER_BYTES, PEER_TRUTH_SECONDS = 10.0, 6 << 30, 60.0
#: (failures, causes a failure) for the peers.
PEER_NETWORKS = {50: 2.5, 100: 3.0, 150: 4.0, 400: 4.0, 600: 4.0}

Row = dict[str, Any]


def compare(network: NoisyOr, evidence: Evidence, seconds: float, compiled: bool, truth: Row) -> Row:
    """One run, with its error, whether its first cause is right and how many of the first five."""
    answer = infer(network, evidence, 0.0, seconds, exact=False, compiled=compiled)
    found = np.array([answer[name].probability for name in truth["posterior"]])
    right = np.array(list(truth["posterior"].values()))
    best, ranked = np.argsort(-right), np.argsort(-found)
    return {
        "method": "compiled" if compiled else "numpy",
        "limit_s": seconds,
        "seconds": round(answer.seconds, 3),
        "log10_evidence": round(answer.log_evidence / np.log(10), 2),
        "samples": answer.samples,
        "effective": round(answer.effective_samples),
        "pareto_k": round(answer.pareto_k, 2),
        "error": round(float(np.abs(found - right).max()), 5),
        "half_width": round(answer.precision, 5),
        "top_margin": round(float(right[best[0]] - right[best[1]]), 4),
        "top_is_right": bool(best[0] == ranked[0]),
        "top5_overlap": len(set(best[:5]) & set(ranked[:5])),
        "warnings": len(answer.warnings),
        "truth": truth["method"],
        "truth_error": truth["standard_error"],
    }


def warm_up() -> None:
    network = make_network(50, 3.0, 0)
    infer(network, make_evidence(network, 1, 1, True, 0), time_limit=0.05, exact=False, compiled=True)


def accuracy(seed: int, failures: int) -> list[Row]:
    return [
        row
        for name, case in CASES.items()
        for row in answers(name, case, seed, ((False, case.seconds), (True, case.seconds), (True, 0.1)))
    ]


def answers(name: str, case: Case, seed: int, how: tuple[tuple[bool, float], ...]) -> list[Row]:
    """Runs, each compiled or not and with a limit of seconds, on one case."""
    warm_up()
    network, evidence = case.posed(seed)
    truth = read_truths().get((name, seed))
    if truth is None:
        raise SystemExit(f"no truth of {name!r}, seed {seed}: run benchmarks/failure_truth.py first")
    about = {"case": name, "seed": seed, "edges": len(network.cause), "absent": len(evidence.absent)}
    return [about | compare(network, evidence, limit, compiled, truth) for compiled, limit in how]


def exact(seed: int, failures: int) -> list[Row]:
    """Networks of 40 to 300 failures, the first of each width."""
    rows: dict[int, Row] = {}
    for size in (40, 60, 80, 100, 120, 150, 200, 300):
        for causes in (1.5, 2.0, 2.5, 3.0, 4.0):
            network = make_network(size, causes, seed)
            evidence = make_evidence(network, 2, 2, True, seed)
            plan = exact_plan(pose(network, evidence))
            if plan is None or plan.width in rows:
                continue
            answer = infer(network, evidence, exact=True)
            rows[plan.width] = {
                "seed": seed,
                "failures": size,
                "edges": len(network.cause),
                "width": plan.width,
                "seconds": round(answer.seconds, 4),
            }
    return [rows[width] for width in sorted(rows)]


def scale(seed: int, failures: int) -> list[Row]:
    return [
        row
        for name, case in LARGE_CASES.items()
        for row in answers(name, case, seed, ((False, case.seconds), (True, case.seconds)))
    ]


def peers(seed: int, failures: int) -> list[Row]:
    network = make_network(failures, PEER_NETWORKS.get(failures, CAUSES), seed)
    evidence = make_evidence(network, 2, 2, True, seed)
    truth = find_truth(network, evidence, PEER_TRUTH_SECONDS)
    rows = []
    with tempfile.TemporaryDirectory(prefix="failure-peers-") as folder:
        FailureNetworkModel.from_network(network).save_pretrained(folder)
        names = {
            key: [network.names[i] for i in getattr(evidence, key).tolist()] for key in ("present", "absent")
        }
        write_text(Path(folder) / "evidence.json", json.dumps(names))
        for contender in CONTENDERS:
            failed = failed_smaller(contender, failures)
            answer = {"fails": failed} if failed else in_a_process(contender, Path(folder))
            row = {
                "case": contender,
                "seed": seed,
                "failures": failures,
                "edges": len(network.cause),
                "truth": truth["method"],
                "truth_error": truth["standard_error"],
            }
            if "posterior" in answer:
                errors = [abs(truth["posterior"][n] - p) for n, p in answer.pop("posterior").items()]
                row |= {"error": round(max(errors), 5), "causes": len(errors)}
            rows.append(row | answer)
    return rows


def failed_smaller(contender: str, failures: int) -> str | None:
    """Why not to try: it failed on a smaller network before."""
    for row in read_report().get("peers", []):
        if row["case"] == contender and row["failures"] < failures and "fails" in row:
            return f"not tried: failed at {row['failures']}"
    return None


def read_report() -> Row:
    report: Row = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return report


def in_a_process(contender: str, folder: Path) -> Row:
    """Its answer, or in a word what went wrong."""
    command = [sys.executable, str(Path(__file__).with_name("failure_peers.py")), contender, str(folder)]
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (PEER_BYTES, PEER_BYTES))  # noqa: E731
    try:
        done = subprocess.run(
            [*command, str(PEER_SECONDS)],
            capture_output=True,
            text=True,
            timeout=PEER_SECONDS + 10.0,  # imports and warm-up
            preexec_fn=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"fails": f"more than {PEER_SECONDS:g} s"}
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if "Error" in line][-1:] or [
            f"killed (exit {done.returncode})"
        ]
        return {"fails": last[0][:120]}
    answer: Row = json.loads(done.stdout.strip().splitlines()[-1])
    if answer["seconds"] > PEER_SECONDS:
        return {"fails": f"more than {PEER_SECONDS:g} s ({answer['seconds']:.1f} s)"}
    answer["seconds"] = round(answer["seconds"], 4)
    return answer


PARTS: dict[str, Callable[[int, int], list[Row]]] = {
    "accuracy": accuracy,
    "exact": exact,
    "scale": scale,
    "peers": peers,
}


def merged(old: Row, part: str, new: list[Row]) -> list[Row]:
    """The part's lines with those of the same seed and size replaced."""
    done = {(row["seed"], row.get("failures")) for row in new} if part != "exact" else None
    kept = [r for r in old.get(part, []) if done is not None and (r["seed"], r.get("failures")) not in done]
    return sorted([*kept, *new], key=lambda row: (row["seed"], row.get("failures", 0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(PARTS), help="one part; all, if left out")
    parser.add_argument("--seed", type=int, default=0, help="of the network and the evidence")
    parser.add_argument("--failures", type=int, default=FAILURES, help="size of the network")
    parser.add_argument("--json", action="store_true", help="print JSON of everything instead of lines")
    arguments = parser.parse_args()
    report = read_report()
    report |= provenance(
        "python benchmarks/failure_inference.py", "numpy", "torch", "numba", "pgmpy", "pyagrum"
    )
    for part in [arguments.only] if arguments.only else PARTS:
        rows = PARTS[part](arguments.seed, arguments.failures)
        if not arguments.json:
            print(part, *(json.dumps(row) for row in rows), sep="\n  ")
        report[part] = merged(report, part, rows)
    if arguments.json:
        print_json(report)
    write_text(RESULTS, as_text(report))


if __name__ == "__main__":
    main()
