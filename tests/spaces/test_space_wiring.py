"""What the Spaces share: words of refusal, the style sheet, and the GPU of ZeroGPU where there is one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hub_models import space
from hub_models.space_words import refusal

from .conftest import SPACES


def fresh_space() -> ModuleType:
    """The module as a new process imports it."""
    spec = importlib.util.spec_from_file_location("fresh_space", space.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ask() -> str:
    return "answered"


def test_on_zero_gpu_a_function_borrows_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spaces.py").write_text("def GPU(function):\n    return lambda: 'on a GPU: ' + function()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "spaces", raising=False)
    assert fresh_space().on_gpu(ask)() == "on a GPU: answered"
    monkeypatch.delitem(sys.modules, "spaces")


def test_elsewhere_it_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spaces", None)  # as if not installed
    assert fresh_space().on_gpu(ask) is ask


def test_a_refusal_is_escaped_and_read_aloud() -> None:
    page = refusal("<script>", "<b>")
    assert "<script>" not in page
    assert "<b>" not in page
    assert "role='alert'>&lt;script&gt;" in page


def test_no_space_repeats_a_rule_of_the_shared_style_sheet() -> None:
    def rules(path: Path) -> set[str]:
        return {
            line.strip() for line in path.read_text().splitlines() if line.count("{") == line.count("}") == 1
        }

    shared = rules(space.STYLE)
    assert shared
    for path in SPACES.glob("*/style.css"):
        assert not shared & rules(path), path
