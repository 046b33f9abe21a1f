"""Complete Space repositories: the app's files, the tables it shows, exact requirements."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import RepoCard

from ..datasets_builder import SCRIPTS
from ..errors import CheckpointError
from ..manifest import write_manifest
from ..repository import replace_folder
from ..space_servers import SPACES, space_names
from .export import code_licence
from .provenance import about

REQUIREMENTS = "requirements.txt"
SOURCES = ("*.py", "*.css", "README.md", REQUIREMENTS)
#: Space -> data sets of this project whose tables it looks for in a folder beside its app.
TABLES = {"root_cause": ("battery_fmea",)}


def export_space(name: str, out: Path, org: str | None = None, wheel: str | None = None) -> Path:
    """Write the repository of a Space to ``out / name`` and return that folder.

    Args:
        org: whose models its README links; None leaves their plain names.
        wheel: address of the wheel of hub-models that it installs; None leaves the version that its source pins,
            which serves where a package index has it.

    Raises:
        CheckpointError: there is no such Space, or the place is taken by something else.
    """
    source = SPACES / name
    if name not in space_names():
        raise CheckpointError(f"Space {name!r} is unknown; choose from {', '.join(space_names()) or 'none'}")
    with replace_folder(out / name) as folder:
        for pattern in SOURCES:
            for path in source.glob(pattern):
                shutil.copyfile(path, folder / path.name)
        for table in TABLES.get(name, ()):
            (folder / table).mkdir()
            for path in (SCRIPTS / table).glob("*.csv"):
                shutil.copyfile(path, folder / table / path.name)
        _rewrite(folder / "README.md", lambda text: _linked(text, org))
        _rewrite(folder / REQUIREMENTS, lambda text: _pinned(text, wheel))
        (folder / "LICENSE").write_text(code_licence(), encoding="utf-8")
        licence = RepoCard.load(source / "README.md").data.license
        inputs = [source, *(SCRIPTS / table for table in TABLES.get(name, ()))]
        write_manifest(folder, about(name, "space", licence, inputs))
    return out / name


def _linked(readme: str, org: str | None) -> str:
    """The header's list of models with the owner's name before each."""
    if org is None:
        return readme
    return re.sub(
        r"(?m)^models:\n(?:- .+\n)+",
        lambda block: re.sub(r"(?m)^- (?!.*/)", f"- {org}/", block[0]),
        readme,
        count=1,
    )


def _pinned(requirements: str, wheel: str | None) -> str:
    """The requirements with hub-models from a wheel."""
    if wheel is None:
        return requirements
    pinned, count = re.subn(r"(?m)^hub-models==.*$", f"hub-models @ {wheel}", requirements)
    if count != 1:
        raise CheckpointError(f"{REQUIREMENTS}: has no line hub-models==VERSION to replace; add it")
    return pinned


def _rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
