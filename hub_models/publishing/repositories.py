"""Every Hub repository that this project makes, by name."""

from __future__ import annotations

from pathlib import Path

from ..zoo import DIST, is_generator, list_models
from .export import export
from .export_pipeline import PIPELINES, export_generator, export_pipeline


def repository_names() -> list[str]:
    """All that can be exported: models of the zoo, and pipelines without weights."""
    return [*(entry.name for entry in list_models()), *PIPELINES]


def export_repository(name: str | Path, out: Path = DIST) -> Path:
    """Write one repository to ``out / <its name>`` and return that folder.

    Args:
        name: a model of the zoo, a pipeline, or the folder of a checkpoint.

    Raises:
        CheckpointError: the name is unknown, the checkpoint is incomplete or altered, or the place is taken.
        BackboneError: the weights of a model's frozen backbone cannot be had.
    """
    if str(name) in PIPELINES:
        return export_pipeline(str(name), out)
    if is_generator(name):
        return export_generator(name, out)
    return export(name, out)
