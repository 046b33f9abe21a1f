"""Tables of the README and of docs/results, made from result files.

``python -m hub_models.publishing.readme`` rewrites them in place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..atomic import write_text
from ..errors import EvaluationError
from ..evaluation.results import read_results
from ..paths import CHECKPOINTS
from .markdown import table
from .tables_embedding import recovery_table, retrieval_table
from .tables_failure import accuracy_rows, peer_rows, second_opinion
from .tables_papers import papers_table
from .tables_shield import shield_table
from .tables_uncertainty import (
    DEFAULT_MODEL,
    conflict_table,
    cost_table,
    models_table,
    prior_table,
    read_outs_table,
)
from .tables_zoo import zoo_table

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks" / "results"
_PART = re.compile(r"<!-- (?P<name>[\w-]+) -->\n.*?<!-- /(?P=name) -->", re.DOTALL)


def pages() -> list[Path]:
    """The files that hold generated parts."""
    return [ROOT / "README.md", *sorted((ROOT / "docs/results").glob("*.md"))]


def sections() -> dict[str, Callable[[], str]]:
    """Marker in a page -> what stands between its two ends."""
    released = {path.parent.name: read_results(path) for path in sorted(CHECKPOINTS.glob("*/results.jsonl"))}
    metric_learning = read_results(BENCHMARKS / "metric_learning.jsonl")
    return {
        "zoo": zoo_table,
        "papers": lambda: papers_table(released),
        "read-outs": lambda: read_outs_table(released[DEFAULT_MODEL], seed=0),
        "prior": lambda: prior_table(released[DEFAULT_MODEL]),
        "models": lambda: models_table(
            {name: lines for name, lines in released.items() if name.startswith("uncertainty-")}
        ),
        "shield": lambda: shield_table(
            {name: lines for name, lines in released.items() if name.startswith("digits-flow")}
        ),
        "recovery": lambda: recovery_table(released["mcinfonce-2d"]),
        "retrieval-cub": lambda: retrieval_table(metric_learning, "retrieval-cub@1"),
        "retrieval-cars": lambda: retrieval_table(metric_learning, "retrieval-cars@1"),
        "conflict": lambda: conflict_table(
            [json.loads(line) for line in (BENCHMARKS / "gradient_conflict.jsonl").read_text().splitlines()]
        ),
        "inference": lambda: table(accuracy_rows(_benchmark("failure_inference"))),
        "second": lambda: second_opinion(_benchmark("failure_inference")),
        "peers": lambda: table(peer_rows(_benchmark("failure_inference"))),
        "cost": lambda: cost_table(_benchmark("feature_cache")),
    }


def fill(text: str) -> str:
    """A page with every generated part made again.

    Raises:
        EvaluationError: a marker is not one of ours.
    """
    known = sections()

    def part(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in known:
            raise EvaluationError(f"no part {name!r} is generated; choose from {', '.join(known)}")
        return f"<!-- {name} -->\n{known[name]()}\n<!-- /{name} -->"

    return _PART.sub(part, text)


def _benchmark(name: str) -> dict[str, Any]:
    return dict(json.loads((BENCHMARKS / f"{name}.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    for page in pages():
        write_text(page, fill(page.read_text(encoding="utf-8")))
