"""The Space's modules can be imported, as when Python runs its app.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "spaces" / "safe_retrieval"))
