"""From this machine to a Hub: verified first, one commit a repository, never over what is not ours."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic import file_sha256
from ..errors import CheckpointError
from ..hub_errors import ConflictError, NotOnHubError, UnreachableError
from ..hub_requests import default_endpoint, hub_errors, patiently
from ..manifest import MANIFEST, read_manifest
from .export_wheel import WHEEL_REPOSITORY, wheel_address
from .push_report import PushReport
from .remote import Place, Remote, commit_folder, look, require_ours
from .repositories import PREFIXES, export_repository, split_name
from .verify import verify

if TYPE_CHECKING:
    from huggingface_hub import HfApi


class VerificationError(CheckpointError):
    """An export does not pass its own checks, so it is not published."""


def push(
    name: str,
    org: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    revision: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
) -> PushReport:
    """Export a repository, verify it, and publish it as ``org/<its name>`` in one commit.

    Pushing the same again changes nothing, so an interrupted push is repeated as it was. Of two pushes at once one
    wins, and the other fails without having changed anything. The token goes to huggingface_hub and nowhere else.

    Args:
        name: as in ``hub-models export``. A Space is pinned to the wheel in ``org/hub-models-wheel``, which must
            have been pushed before.
        org: a user or an organisation.
        private: of a repository that is new.
        dry_run: look, verify and compare, but change nothing.
        revision: branch to push to, made from the main one if missing; None for the main one.
        endpoint, token: of another Hub than the environment's.

    Raises:
        VerificationError: the export does not pass; the message lists the checks that fail.
        NotOursError: the place holds something that this project did not put there.
        HubError: the Hub does not answer, or refuses.
        CheckpointError: the name is unknown, or the export fails.
    """
    from huggingface_hub import HfApi

    endpoint = (endpoint or default_endpoint()).rstrip("/")
    kind, _ = split_name(name)
    api = HfApi(endpoint=endpoint, token=token)
    wheel = _wheel(api, org) if kind == "space" else None
    with tempfile.TemporaryDirectory(prefix="hub-models-push-") as scratch:
        folder = export_repository(name, Path(scratch), org, wheel)
        _require_verified(folder)
        place = Place(api, f"{org}/{folder.name}", kind, revision)
        remote = patiently(lambda: look(place))
        if remote is None and not dry_run:
            remote = _created(place, folder.name, private)
        return _commit(place, folder, remote, dry_run)


def _require_verified(folder: Path) -> None:
    verification = verify(folder, run_examples=True)
    if not verification.passed:
        lines = "".join(f"\n  {check.name}: {check.detail}" for check in verification.failures)
        raise VerificationError(f"{folder.name} is not published, it does not pass:{lines}")


def _created(place: Place, name: str, private: bool) -> Remote:
    """A new repository, or a new branch of one of ours."""
    if place.revision is not None:
        main = patiently(lambda: look(replace(place, revision=None)))
        if main is not None:
            require_ours(place, main, name)

    def create() -> Remote | None:
        with hub_errors(place.repository, place.endpoint):
            place.api.create_repo(
                place.repository,
                repo_type=place.kind,
                private=private,
                exist_ok=True,
                space_sdk="gradio" if place.kind == "space" else None,
            )
            if place.revision is not None:
                place.api.create_branch(
                    place.repository, branch=place.revision, repo_type=place.kind, exist_ok=True
                )
        return look(place)

    remote = patiently(create)
    if remote is None:
        raise NotOnHubError(f"{place.repository}: was made on {place.endpoint} but is not there; try again")
    return remote


def _commit(place: Place, folder: Path, remote: Remote | None, dry_run: bool) -> PushReport:
    ours, sha256 = read_manifest(folder), file_sha256(folder / MANIFEST)
    theirs: dict[str, str] = {}
    if remote is not None:
        require_ours(place, remote, folder.name)
        theirs = remote.manifest["files"] if remote.manifest else {}
    changed = remote is None or remote.manifest_sha256 != sha256
    uploaded = [file for file, digest in ours["files"].items() if theirs.get(file) != digest]
    deleted = frozenset(theirs.keys() - ours["files"].keys())
    commit = remote.commit if remote is not None and not changed else None
    if changed and not dry_run and remote is not None:
        commit = _committed(place, folder, deleted, remote, sha256)
    return PushReport(
        name=f"{PREFIXES[place.kind]}{folder.name}",
        kind=place.kind,
        repository=place.repository,
        endpoint=place.endpoint,
        commit=commit,
        changed=changed,
        created=remote is None or remote.manifest is None,
        uploaded=(*uploaded, MANIFEST) if changed else (),
        deleted=tuple(sorted(deleted)),
        manifest_sha256=sha256,
    )


def _committed(place: Place, folder: Path, deleted: frozenset[str], remote: Remote, sha256: str) -> str:
    """Commit, patiently: a commit whose answer was lost, or that another push made alike, is found and not repeated."""

    def attempt() -> str:
        try:
            return commit_folder(place, folder, deleted, remote.commit)
        except (ConflictError, UnreachableError):
            found = _found_after_all(place, sha256)
            if found is None:
                raise
            return found

    return patiently(attempt)


def _found_after_all(place: Place, sha256: str) -> str | None:
    """The commit that holds our manifest, if the Hub has it; None also where the Hub cannot be asked."""
    try:
        remote = look(place)
    except UnreachableError:
        return None
    return remote.commit if remote is not None and remote.manifest_sha256 == sha256 else None


def _wheel(api: HfApi, org: str) -> str:
    """The address of the wheel that a Space of this owner installs."""
    place = Place(api, f"{org}/{WHEEL_REPOSITORY}", "model", None)
    remote = patiently(lambda: look(place))
    sha256 = (remote.manifest or {}).get("wheel_sha256") if remote else None
    if remote is None or sha256 is None:
        raise CheckpointError(
            f"{place.repository}: not on {place.endpoint}, so a Space could not install hub-models; first run "
            f"`make dist` and `hub-models push {WHEEL_REPOSITORY} --org {org}`"
        )
    return wheel_address(place.endpoint, place.repository, remote.commit, sha256)
