"""Scripts of ``strangers``, run in a fresh process that cannot import this project."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .loopback.clients import run

SCRIPTS = Path(__file__).parent / "strangers"
WITHOUT_US = """
import runpy, sys
sys.modules["hub_models"] = None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def ask(script: str, *arguments: str, home: Path, variables: Mapping[str, str]) -> Any:
    """What a script prints, read as JSON.

    Args:
        home: its current folder.
        variables: its whole environment.
    """
    command = [sys.executable, "-I", "-c", WITHOUT_US, str(SCRIPTS / script), *arguments]
    done = run(command, home, variables)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
