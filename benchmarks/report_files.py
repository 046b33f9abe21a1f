"""What every benchmark's result file holds beside its figures, and how it is laid out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hub_models.atomic import write_text
from hub_models.cli.options import print_json
from hub_models.evaluation.results import hardware


def provenance(command: str, *packages: str) -> dict[str, Any]:
    """Where figures come from: the machine, the versions of what was measured, and the command."""
    return {
        "machine": hardware(),
        "versions": {name: version(name) for name in (*packages, "hub-models")},
        "command": command,
    }


def as_text(report: dict[str, Any]) -> str:
    """JSON with one line for each figure, for readable diffs."""
    lists = {key: value for key, value in report.items() if isinstance(value, list)}
    text = json.dumps(report | {key: f"@{key}" for key in lists}, indent=2)
    for key, lines in lists.items():
        body = ",\n".join(f"    {json.dumps(line)}" for line in lines)
        text = text.replace(f'"@{key}"', f"[\n{body}\n  ]")
    return text + "\n"


def run_as_command(
    doc: str, run: Callable[[bool], dict[str, Any]], show: Callable[[dict[str, Any]], None], results: Path
) -> None:
    """A benchmark's command line: measure, show, and write the result file.

    Args:
        doc: of the benchmark; its first line describes the command.
        run: measures; a small run where its argument is true.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a small run to see that it works; writes nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    report = run(arguments.quick)
    if arguments.json:
        print_json(report)
    else:
        show(report)
    if not arguments.quick:
        write_text(results, as_text(report))
        print(f"wrote {results.name}", file=sys.stderr)
