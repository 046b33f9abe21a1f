"""Registers our models with transformers' Auto classes and pipelines, without importing transformers.

``import hub_models`` must stay light, yet ``AutoModel.from_pretrained`` should then know our classes:
reviewed code runs, and no trust flag is needed. So each registration waits until the module of transformers
that holds the registry has been imported, and happens at once if it was.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .families import FAMILIES, Family

PACKAGE = __name__.rpartition(".")[0]


def _published(reference: str) -> Any:
    module, _, name = reference.partition(".")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)


def _register_config(registry: ModuleType, family: Family) -> None:
    registry.AutoConfig.register(family.model_type, _published(family.config), exist_ok=True)


def _register_model(registry: ModuleType, family: Family) -> None:
    registry.AutoModel.register(_published(family.config), _published(family.model), exist_ok=True)


def _register_pipeline(registry: ModuleType, family: Family) -> None:
    if family.pipeline is None:
        return
    registry.PIPELINE_REGISTRY.register_pipeline(
        family.task,
        pipeline_class=_published(family.pipeline),
        pt_model=importlib.import_module("transformers").AutoModel,
        type=family.input_type,
    )


#: Module that holds a registry -> how a family enters it.
REGISTRIES: dict[str, Callable[[ModuleType, Family], None]] = {
    "transformers.models.auto.configuration_auto": _register_config,
    "transformers.models.auto.modeling_auto": _register_model,
    "transformers.pipelines": _register_pipeline,
}
OUR_MODULES = frozenset(
    f"{PACKAGE}.{reference.split('.')[0]}" for family in FAMILIES for reference in family.references
)


def install() -> None:
    """Register now what can be, and the rest once transformers is imported. A second call does nothing."""
    if not any(isinstance(finder, _PostImportFinder) for finder in sys.meta_path):
        finder = _PostImportFinder()
        sys.meta_path.insert(0, finder)
        finder.register_ready()


class _PostImportFinder(MetaPathFinder):
    """Finds nothing itself: lets the other finders find a watched module, and learns when it was imported.

    Our own modules are watched too: where one of them is what imports transformers, it is not complete yet,
    and registration waits for it.
    """

    def __init__(self) -> None:
        self._pending = list(REGISTRIES)
        self._executing: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders give, with a loader that reports back."""
        if fullname not in REGISTRIES and fullname not in OUR_MODULES:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _ReportingLoader(spec.loader, self)
        return spec

    def execute(self, loader: Loader, module: ModuleType) -> None:
        """Execute a watched module, then register what that made possible."""
        self._executing.add(module.__name__)
        try:
            loader.exec_module(module)
        finally:
            self._executing.discard(module.__name__)
        self.register_ready()

    def register_ready(self) -> None:
        """Serve every registry that has been imported, unless one of our modules is only half imported."""
        if not self._executing.isdisjoint(OUR_MODULES):
            return
        ready = [name for name in self._pending if name in sys.modules and name not in self._executing]
        self._pending = [name for name in self._pending if name not in ready]
        for name in ready:
            for family in FAMILIES:
                try:
                    REGISTRIES[name](sys.modules[name], family)
                except ImportError as error:  # must not break the import of transformers itself
                    warnings.warn(
                        f"{family.task} models are not registered with {name}: {error}; "
                        "pip install 'hub-models[models]'",
                        stacklevel=2,
                    )


class _ReportingLoader(Loader):
    """Loads a module with its own loader and reports to the finder; gone once the module is loaded."""

    def __init__(self, loader: Loader, finder: _PostImportFinder) -> None:
        self._loader, self._finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module under its own loader, so that it looks as if nobody had listened."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._finder.execute(self._loader, module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
