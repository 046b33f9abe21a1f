"""A process that knows transformers but not this project: another folder, offline, with caches that are empty."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

#: The first lines of its code: the model of a folder, loaded strictly, and its golden tensors.
LOADED = """
import sys
sys.modules["hub_models"] = None
import torch
from safetensors.torch import load_file
from transformers import AutoModel
folder = sys.argv[1]
model, info = AutoModel.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
assert not any(info.values()), info
assert type(model).__module__.startswith("transformers_modules."), type(model)
golden = load_file(f"{folder}/golden.safetensors")
with torch.no_grad():
    output = model(golden[type(model).main_input_name])
tolerance = 1e-9 if all(value.dtype == torch.float64 for value in output.values()) else 1e-5
for name in output.keys():
    torch.testing.assert_close(output[name], golden[name], atol=tolerance, rtol=tolerance)
"""


def run_stranger(code: str, *arguments: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run code with ``sys.argv[1:]`` = arguments, from the empty folder ``home``."""
    return subprocess.run(
        [sys.executable, "-I", "-c", code, *map(str, arguments)],
        cwd=home,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HF_HOME": str(home / "huggingface"),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def answer_of_stranger(code: str, repository: Path, home: Path) -> str:
    """What code prints after `LOADED`; an error of it fails the test."""
    done = run_stranger(LOADED + code, repository, home=home)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()
