"""What a manifest says about a repository beside its checksums: its kind, its making, its licence."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ..atomic import file_sha256
from ..checkpoint_folder import CHECKSUMS, RECIPE, read_recipe
from ..manifest import read_listing
from .training_data import training_data


def about(name: str, kind: str, licence: str, inputs: Sequence[Path]) -> dict[str, Any]:
    """The fields that every manifest has.

    Args:
        kind: of repository on the Hub: ``model``, ``dataset`` or ``space``.
        inputs: files and folders that it is made of.
    """
    return {
        "name": name,
        "kind": kind,
        "licence": licence,
        "hub_models": metadata.version("hub-models"),
        "commit": last_commit(inputs),
    }


def about_checkpoint(folder: Path, inputs: Sequence[Path]) -> dict[str, Any]:
    """The same for a trained model: also its recipe's hash, the versions and data it was trained with, and their terms.

    The versions are None for a checkpoint of before they were recorded.
    """
    recipe = read_recipe(folder / RECIPE)
    recorded = read_listing(folder / CHECKSUMS) if (folder / CHECKSUMS).is_file() else {}
    return {
        **about(folder.name, "model", recipe["licence"], [folder, *inputs]),
        "recipe_sha256": file_sha256(folder / RECIPE),
        "trained_with": recorded.get("trained_with"),
        "training_data": training_data(recipe),
    }


def last_commit(inputs: Sequence[Path]) -> str | None:
    """The commit that last changed any of the inputs.

    None where no commit has just these bytes: outside a git tree, as in an installed package, or with changes that
    were not committed.
    """
    parents = {path.resolve().parent for path in inputs}
    roots = {_git(parent, "rev-parse", "--show-toplevel") for parent in parents}
    if len(roots) != 1 or None in roots:
        return None
    root = Path(str(roots.pop()))
    paths = [str(path.resolve()) for path in inputs]
    if _git(root, "status", "--porcelain", "--", *paths) != "":
        return None
    return _git(root, "log", "-1", "--format=%H", "--", *paths) or None


def _git(folder: Path, *command: str) -> str | None:
    """What git prints; None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *command],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
