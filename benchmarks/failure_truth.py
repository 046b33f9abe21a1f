"""The right answers: exact, or by a second sampler that shares no code with ours, to a standard error of 0.0005.

    python benchmarks/failure_truth.py [--seeds N] [--seconds S]

Writes a line for each case of `failure_scenarios` and each seed into benchmarks/results/failure_truth.jsonl, as soon
as it is known; lines that are there are kept. ``--seconds`` of one core is the most that a case may take; what it has
reached by then is written down with its standard error.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from failure_scenarios import CASES, LARGE_CASES, Case
from failure_second_sampler import second_opinion

from hub_models.atomic import write_text
from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_evidence import Evidence, pose
from hub_models.noisy_or_exact import exact_plan
from hub_models.noisy_or_posterior import infer

TRUTH = Path(__file__).parent / "results" / "failure_truth.jsonl"
STANDARD_ERROR = 0.0005

Row = dict[str, Any]


def find_truth(network: NoisyOr, evidence: Evidence, seconds: float) -> Row:
    """Posteriors of all root causes, and how they were found."""
    start = time.process_time()
    if exact_plan(pose(network, evidence)) is not None:
        answer = infer(network, evidence, exact=True)
        probability = np.array([record.probability for record in answer])
        found: Row = {
            "method": "exact",
            "standard_error": 0.0,
            "log10_evidence": answer.log_evidence / np.log(10),
        }
    else:
        other = second_opinion(network, evidence, STANDARD_ERROR, seconds)
        probability = other.probability
        found = {
            "method": "second sampler",
            "standard_error": round(other.standard_error, 6),
            "log10_evidence": other.log10_evidence,
            "samples": other.samples,
            "effective": round(other.effective),
        }
    roots = np.flatnonzero(network.is_root).tolist()
    found["log10_evidence"] = round(float(found["log10_evidence"]), 3)
    return found | {
        "seconds": round(time.process_time() - start, 1),
        "posterior": {network.names[i]: round(float(probability[i]), 7) for i in roots},
    }


@cache
def read_truths() -> dict[tuple[str, int], Row]:
    """Lines by case and seed."""
    if not TRUTH.exists():
        return {}
    rows = [json.loads(line) for line in TRUTH.read_text(encoding="utf-8").splitlines()]
    return {(row["case"], row["seed"]): row for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="networks of each case; one of the large ones")
    parser.add_argument("--seconds", type=float, default=120.0, help="of one core, at most for each")
    arguments = parser.parse_args()
    wanted: list[tuple[str, Case, int]] = [
        (name, case, seed) for seed in range(arguments.seeds) for name, case in CASES.items()
    ]
    wanted += [(name, case, 0) for name, case in LARGE_CASES.items()]
    rows = dict(read_truths())
    for name, case, seed in wanted:
        if (name, seed) in rows:
            continue
        row = {"case": name, "seed": seed, **find_truth(*case.posed(seed), arguments.seconds)}
        print(json.dumps({key: value for key, value in row.items() if key != "posterior"}), flush=True)
        rows[name, seed] = row
        write_text(TRUTH, "".join(f"{json.dumps(each)}\n" for each in rows.values()))


if __name__ == "__main__":
    main()
