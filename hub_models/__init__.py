"""hub-models: a Hugging Face hub-centric model zoo for trustworthy machine learning.

>>> import hub_models
>>> model = hub_models.load("name")                          # see hub_models.list_models()
>>> processor = hub_models.load_image_processor("name")

Importing it is light (no torch) and registers our models with transformers, so that
``AutoModel.from_pretrained`` loads them without a trust flag.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._registration import install

if TYPE_CHECKING:
    from . import errors
    from .zoo import list_models, load, load_image_processor

__version__ = "0.1.0"
__all__ = ["__version__", "errors", "list_models", "load", "load_image_processor"]

_HOME = {"list_models": "zoo", "load": "zoo", "load_image_processor": "zoo"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    if name == "errors":
        return importlib.import_module(".errors", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


install()
