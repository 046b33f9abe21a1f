"""SPELL, sparse repellency: diffusion models steered away from protected references, without training."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "ReferenceSet": "spell_references",
    "attach_spell": "spell_attachment",
    "calibrate_radius": "spell_radius",
    "detach_spell": "spell_attachment",
    "report": "spell_report",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
