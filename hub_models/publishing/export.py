"""From a checkpoint to a complete Hub repository on disk, ready to be loaded or pushed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from ..checkpoint_folder import RESULTS, open_checkpoint
from ..errors import CheckpointError
from ..published_code import PACKAGE, closure
from ..repository import assemble
from ..zoo import DIST, find_checkpoint
from .card import card
from .card_pictures import PICTURE, picture_path
from .provenance import about_checkpoint


def export(name: str | Path, out: Path = DIST) -> Path:
    """Write the repository of a checkpoint to ``out / <its name>`` and return that folder.

    It is written beside its place and moved there when complete; the same checkpoint gives the same bytes.

    Args:
        name: a released model, or the folder of a checkpoint in source form.

    Raises:
        CheckpointError: the name is unknown, the checkpoint is incomplete or altered, or the place is taken.
        BackboneError: the backbone's weights cannot be had.
    """
    checkpoint = open_checkpoint(find_checkpoint(name))
    target = out / checkpoint.name
    about = about_checkpoint(checkpoint.path, closure(checkpoint.family.entry_files))
    assemble(checkpoint, target, documents(checkpoint.path), about)
    return target


def documents(folder: Path) -> dict[str, bytes]:
    """What a person reads beside a checkpoint's files: card, its picture and its figures, and the code's licence."""
    found = {"README.md": card(folder).encode(), "LICENSE": code_licence().encode()}
    for name, path in ((RESULTS, folder / RESULTS), (PICTURE, picture_path(folder.name))):
        if path.is_file():
            found[name] = path.read_bytes()
    return found


def code_licence() -> str:
    """The licence text of our code: from the source tree, or from the installed distribution.

    Raises:
        CheckpointError: neither carries it.
    """
    in_source_tree = PACKAGE.parent / "LICENSE"
    if in_source_tree.is_file():
        return in_source_tree.read_text(encoding="utf-8")
    text = metadata.distribution("hub-models").read_text("licenses/LICENSE")
    if text is None:
        raise CheckpointError(
            f"{in_source_tree}: missing; reinstall hub-models, its code may not be copied without it"
        )
    return text
