"""Every Hub repository that this project makes, by name.

A name is what the address on the Hub ends with, owner left out: ``uncertainty-efficientnet-lite0`` (a model, a
generator or a custom pipeline), ``datasets/battery_fmea``, ``spaces/root_cause``. Exports lie in folders of the same
names, below ``dist/hub`` by default.
"""

from __future__ import annotations

from pathlib import Path

from ..space_servers import space_names
from ..zoo import DIST, is_generator, list_models
from .export import export
from .export_dataset import dataset_names, export_dataset, unpublished_datasets
from .export_pipeline import PIPELINES, export_generator, export_pipeline
from .export_space import export_space
from .export_wheel import BUILT, WHEEL_REPOSITORY, export_wheel, wheel_name, wheel_path

#: Kind of repository -> what its names begin with. Models have no prefix, as on the Hub.
PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}


def repository_names() -> list[str]:
    """All that can be exported here. The wheel comes first: pushed Spaces point to it."""
    wheel = [WHEEL_REPOSITORY] if wheel_path() else []
    return [
        *wheel,
        *model_names(),
        *(f"{PREFIXES['dataset']}{name}" for name in dataset_names()),
        *(f"{PREFIXES['space']}{name}" for name in space_names()),
    ]


def model_names() -> list[str]:
    """Models and generators of the zoo, and pipelines without weights."""
    return [*(entry.name for entry in list_models()), *PIPELINES]


def skipped_repositories() -> dict[str, str]:
    """Name -> why it is not exported here."""
    skipped = {f"{PREFIXES['dataset']}{name}": reason for name, reason in unpublished_datasets().items()}
    if wheel_path() is None:
        skipped[WHEEL_REPOSITORY] = f"{BUILT / wheel_name()} is not built; `make dist` does it"
    return skipped


def split_name(name: str) -> tuple[str, str]:
    """The kind of repository that a name means, and the name without its prefix."""
    for kind, prefix in PREFIXES.items():
        if prefix and name.startswith(prefix):
            return kind, name.removeprefix(prefix)
    return "model", name


def export_repository(
    name: str | Path, out: Path = DIST, org: str | None = None, wheel: str | None = None
) -> Path:
    """Write one repository to ``out / <its name>`` and return that folder; equal inputs give equal bytes.

    Args:
        name: as in `repository_names`, or the folder of a checkpoint.
        org, wheel: see `export_space`; they change Spaces only.

    Raises:
        CheckpointError: the name is unknown, the checkpoint is incomplete or altered, or the place is taken.
        BackboneError: the weights of a model's frozen backbone cannot be had.
    """
    kind, plain = split_name(str(name))
    if kind == "dataset":
        return export_dataset(plain, out / PREFIXES[kind])
    if kind == "space":
        return export_space(plain, out / PREFIXES[kind], org, wheel)
    if name == WHEEL_REPOSITORY:
        return export_wheel(out)
    if str(name) in PIPELINES:
        return export_pipeline(str(name), out)
    if is_generator(name):
        return export_generator(name, out)
    return export(name, out)
