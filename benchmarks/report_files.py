"""What every benchmark's result file holds beside its figures, and how it is laid out."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

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
