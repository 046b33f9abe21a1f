"""Our figures beside those of the papers. What a paper says is quoted in docs/papers.toml, with where it was read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..evaluation.results import Result
from .markdown import cell, table

PAPERS = Path(__file__).parents[2] / "docs" / "papers.toml"


def papers_table(released: Mapping[str, Sequence[Result]]) -> str:
    """One row a figure: what, here, in the paper, and what differs between the two."""
    rows = [["", "here", "in the paper", "what differs"]]
    for entry in tomllib.loads(PAPERS.read_text(encoding="utf-8"))["figures"]:
        key = entry["task"], entry["metric"], entry["read_out"]
        lines = [
            r
            for r in released.get(entry["model"], ())
            if r.model == entry["model"] and r.seed == entry.get("seed", 0)
        ]
        line = next((r for r in lines if (r.task, r.metric, r.read_out) == key), None)
        if line is not None:
            rows.append([entry["words"], cell(line), entry["paper"], entry["differs"]])
    return table(rows)
