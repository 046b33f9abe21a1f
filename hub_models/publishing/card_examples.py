"""The code in a card, and what it prints when it is run as a reader would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from ..errors import CheckpointError

#: Stands for a checkpoint that only the reader has; a block with it cannot be run here.
READERS_OWN = "your/checkpoint"
#: Not for the code of a card.
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(text: str) -> list[str]:
    """Every ``python`` block of a card, in order."""
    return _BLOCK.findall(text)


def run_block(block: str, repositories: Path, seconds: float = 300) -> str:
    """What a block prints, run in a fresh process.

    Args:
        repositories: the folder that holds the card's repository under its own name, which is how the block names it.
        seconds: before it is stopped.

    Raises:
        CheckpointError: the block fails or takes too long; the message ends with what it said.
    """
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", block],
            cwd=repositories,
            env={name: value for name, value in os.environ.items() if name not in TOKENS} | quiet,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise CheckpointError(f"the card's example takes more than {seconds:g} s:\n{block}") from None
    if done.returncode:
        raise CheckpointError(f"the card's example fails:\n{block}\n{done.stderr.strip()[-2000:]}")
    return done.stdout.rstrip()
