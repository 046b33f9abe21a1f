"""Where the project keeps what it computes, and where it finds the user's data."""

from __future__ import annotations

import os
from pathlib import Path

CHECKPOINTS = Path(__file__).parent / "checkpoints"


def cache_dir() -> Path:
    """``HUB_MODELS_CACHE``, by default ``~/.cache/hub-models``; created if missing."""
    path = Path(os.environ.get("HUB_MODELS_CACHE") or Path.home() / ".cache" / "hub-models")
    path.mkdir(parents=True, exist_ok=True)
    return path


def data_dir() -> Path | None:
    """``HUB_MODELS_DATA`` if it names a folder, else None."""
    value = os.environ.get("HUB_MODELS_DATA")
    return Path(value) if value and Path(value).is_dir() else None
