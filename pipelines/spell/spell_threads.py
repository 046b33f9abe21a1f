"""Compiled loops, which let go of the interpreter, on as many threads as PyTorch may use."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_FEW = 256  # not worth a thread


def in_parallel(run: Callable[[slice], Any], count: int) -> None:
    """Call `run` with slices that together cover `count` elements."""
    workers = min(torch.get_num_threads(), max(1, count // _FEW))
    if workers == 1:
        run(slice(count))
        return
    size = -(-count // workers)
    with ThreadPoolExecutor(workers, thread_name_prefix="spell") as pool:
        list(pool.map(run, [slice(start, start + size) for start in range(0, count, size)]))
