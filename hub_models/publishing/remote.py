"""A repository on a Hub as it stands before a push: whose it is, what it holds, and one commit on top of it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import file_sha256
from ..errors import CheckpointError
from ..hub_requests import hub_errors
from ..manifest import MANIFEST, read_manifest
from .verify_files import OF_THE_HUB

if TYPE_CHECKING:
    from huggingface_hub import HfApi


#: Files of a repository that was just created.
FRESH = {"model": {OF_THE_HUB}, "dataset": {OF_THE_HUB}, "space": {OF_THE_HUB, "README.md"}}


class NotOursError(CheckpointError):
    """The place on the Hub holds something that this project did not put there."""


@dataclass(frozen=True)
class Place:
    """Where a repository goes.

    Attributes:
        repository: ``org/name``.
        revision: branch; None for the main one.
    """

    api: HfApi
    repository: str
    kind: str
    revision: str | None

    @property
    def endpoint(self) -> str:
        """The Hub's address."""
        return str(self.api.endpoint)


@dataclass(frozen=True)
class Remote:
    """What is there.

    Attributes:
        commit: the latest, which ours must follow.
        files: every file's name.
        manifest: its content; None where there is none.
        manifest_sha256: None likewise.
    """

    commit: str
    files: frozenset[str]
    manifest: dict[str, Any] | None
    manifest_sha256: str | None


def look(place: Place) -> Remote | None:
    """The repository as it stands; None where there is none, or no such branch.

    Raises:
        HubError: the Hub does not answer, or not to us.
        CheckpointError: its manifest is damaged.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    with hub_errors(place.repository, place.endpoint):
        try:
            info = place.api.repo_info(place.repository, revision=place.revision, repo_type=place.kind)
        except GatedRepoError:
            raise
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None
        files = frozenset(
            place.api.list_repo_files(place.repository, revision=info.sha, repo_type=place.kind)
        )
        if MANIFEST not in files:
            return Remote(str(info.sha), files, None, None)
        with tempfile.TemporaryDirectory() as scratch:
            path = place.api.hf_hub_download(
                place.repository, MANIFEST, revision=info.sha, local_dir=scratch, repo_type=place.kind
            )
            folder = Path(path).parent
            return Remote(str(info.sha), files, read_manifest(folder), file_sha256(folder / MANIFEST))


def require_ours(place: Place, remote: Remote, name: str) -> None:
    """Refuse to touch a repository that this project did not make, or that others have added to.

    Raises:
        NotOursError: the message says what is in the way.
    """
    where = f"{place.repository} on {place.endpoint}"
    advice = "push under another --org or name, or move those files away first"
    if remote.manifest is None:
        strangers = sorted(remote.files - FRESH[place.kind])
        if strangers:
            raise NotOursError(f"{where}: has no {MANIFEST} but {_shortened(strangers)}; {advice}")
        return
    theirs = remote.manifest.get("name"), remote.manifest.get("kind", "model")
    if theirs != (name, place.kind):
        raise NotOursError(f"{where}: holds the {theirs[1]} {theirs[0]!r}, not {name!r}; {advice}")
    strangers = sorted(remote.files - {*remote.manifest["files"], MANIFEST, OF_THE_HUB})
    if strangers:
        raise NotOursError(f"{where}: holds files that we did not push, {_shortened(strangers)}; {advice}")


def commit_folder(place: Place, folder: Path, deleted: frozenset[str], parent: str) -> str:
    """Put a folder's files into one commit on top of ``parent``, and return its hash.

    All files go in or none; files that the Hub has already are not sent again.

    Raises:
        HubError: it did not work; nothing was changed, or the answer was lost: look again before a retry.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    listed = [MANIFEST, *json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]]
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        *(CommitOperationAdd(name, folder / name) for name in listed),
        *(CommitOperationDelete(name) for name in sorted(deleted)),
    ]
    with hub_errors(place.repository, place.endpoint):
        done = place.api.create_commit(
            place.repository,
            operations,
            commit_message=f"{folder.name}, by hub-models",
            repo_type=place.kind,
            revision=place.revision,
            parent_commit=parent,
        )
    return str(done.oid)


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
