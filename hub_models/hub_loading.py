"""Repositories of this project from a Hub: one commit, fetched once, every file checked on arrival."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path

from .atomic import file_sha256
from .errors import CheckpointError
from .hub_errors import AlteredError, NotOnHubError
from .hub_requests import default_endpoint, hub_errors
from .manifest import MANIFEST, check_manifest, read_manifest
from .published import Published, read_published

_REFERENCE = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@\s]+))?")


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit, in the cache.

    Attributes:
        folder: its files.
        repository: ``org/name``.
        commit: full hash; what a branch or tag stood for when it was fetched.
    """

    folder: Path
    repository: str
    commit: str


def split_reference(reference: str) -> tuple[str, str | None] | None:
    """``org/name@revision`` as repository and revision, None where none is given; None for any other text."""
    found = _REFERENCE.fullmatch(reference)
    return (found["repository"], found["revision"]) if found else None


def fetch(
    reference: str, kind: str = "model", *, endpoint: str | None = None, token: str | None = None
) -> Snapshot:
    """A repository by ``org/name`` or ``org/name@revision``, from the cache as far as it is there, and checked.

    A branch or tag is resolved once; all files come from the commit that it stood for, so a revision that moves
    meanwhile changes nothing. Only files that the manifest lists are fetched, each is compared with its sha256, and
    the manifest with the package's record where it has one of this commit. Nothing is executed. Offline, a revision
    means what it meant when it was last fetched.

    Args:
        kind: ``model``, ``dataset`` or ``space``.
        endpoint, token: of another Hub than the environment's.

    Raises:
        HubError: a type for each cause, see `hub_models.hub_errors`; the message gives the next step.
        CheckpointError: the manifest is damaged.
    """
    snapshot = download(reference, kind, endpoint=endpoint, token=token)
    _check(snapshot, kind)
    return snapshot


def download(
    reference: str,
    kind: str = "model",
    *,
    whole: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
) -> Snapshot:
    """The same without a check of what arrived, for those who report on it.

    Args:
        whole: also files that the manifest does not list.

    Raises:
        HubError, CheckpointError: as `fetch`.
    """
    from huggingface_hub import hf_hub_download, snapshot_download

    parts = split_reference(reference)
    if parts is None:
        raise NotOnHubError(f"{reference!r}: no name of a repository; write org/name or org/name@revision")
    repository, revision = parts
    endpoint = endpoint or default_endpoint()
    with hub_errors(reference, endpoint):  # huggingface_hub itself is patient when it fetches
        manifest = Path(
            hf_hub_download(
                repository, MANIFEST, revision=revision, repo_type=kind, endpoint=endpoint, token=token
            )
        )
        folder, commit = manifest.parent, manifest.parent.name
        listed = read_manifest(folder)["files"]
        missing = [name for name in listed if not (folder / name).is_file()]
        if whole or missing:
            wanted = None if whole else [glob.escape(name) for name in missing]
            snapshot_download(
                repository,
                revision=commit,
                allow_patterns=wanted,
                repo_type=kind,
                endpoint=endpoint,
                token=token,
            )
    return Snapshot(folder, repository, commit)


def _check(snapshot: Snapshot, kind: str) -> None:
    where = f"{snapshot.repository}@{snapshot.commit}"
    again = f"`hf cache rm {kind}/{snapshot.repository}` and fetch it again; if it stays, report it"
    release = known_release(snapshot.repository, snapshot.commit)
    if release and file_sha256(snapshot.folder / MANIFEST) != release.manifest_sha256:
        raise AlteredError(f"{where}: {MANIFEST} is not the one that this project published; {again}")
    try:
        check_manifest(snapshot.folder)
    except CheckpointError as error:
        raise AlteredError(f"{where}: {error}; or {again}") from error


def known_release(repository: str, commit: str) -> Published | None:
    """The package's record of this very commit, if it has one."""
    for release in read_published().values():
        if (release.repository, release.commit) == (repository, commit):
            return release
    return None
