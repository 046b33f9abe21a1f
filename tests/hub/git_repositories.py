"""A repository of the loopback Hub as an ordinary git repository, its large files as git-lfs keeps them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .loopback.repositories import POINTER
from .loopback.server import LoopbackHub

IDENTITY = ("-c", "user.name=tests", "-c", "user.email=tests@localhost", "-c", "init.defaultBranch=main")


def to_git(hub: LoopbackHub, name: str, target: Path, kind: str = "model") -> str:
    """Put the files of main into a new git repository with one commit, and return its hash."""
    target.mkdir(parents=True)
    _git(target, "init", "--quiet")
    for path, entry in hub.repository(name, kind).head.files.items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if entry.large:
            file.write_text(POINTER.format(sha256=entry.sha256, size=entry.size))
            stored = target / ".git/lfs/objects" / entry.sha256[:2] / entry.sha256[2:4] / entry.sha256
            stored.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(hub.blobs.path(entry.sha256), stored)
        else:
            shutil.copyfile(hub.blobs.path(entry.sha256), file)
    # git-lfs need not be installed: the pointers are made here, and no filter may touch them.
    (target / ".git/info").mkdir(exist_ok=True)
    (target / ".git/info/attributes").write_text("* -filter -diff -merge -text\n")
    _git(target, "add", "--all", "--force")
    _git(target, "commit", "--quiet", "--message", "All files")
    return _git(target, "rev-parse", "HEAD").strip()


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *IDENTITY, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout
