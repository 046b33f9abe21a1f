"""Is a repository what it says? On disk or on a Hub, one named check after the other."""

from __future__ import annotations

import re
from pathlib import Path

from ..atomic import file_sha256
from ..errors import CheckpointError
from ..hub_loading import Snapshot, download, split_reference
from ..manifest import MANIFEST, read_manifest
from ..published import read_published
from ..zoo import DIST
from . import verify_card, verify_files, verify_loading
from .export_wheel import WHEEL_REPOSITORY
from .repositories import PREFIXES, split_name
from .verification import Check, NotMade, Outcome, Verification, check

_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


def verify(
    target: str | Path,
    *,
    run_examples: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
) -> Verification:
    """Check a repository: files, contents, pins, origin, code, loading, output, card.

    Nothing of the repository is executed, except the card's examples where that is asked for. If its files are not
    those of its manifest, nothing of them is opened either and the list ends there.

    Args:
        target: a folder that ``hub-models export`` wrote; the name of one below ``dist/hub``; or
            ``org/name@revision`` on a Hub, ``datasets/`` or ``spaces/`` before it for those. A revision is resolved
            to a commit first.
        run_examples: run the python blocks of the card, in a fresh process each. They are code: only do so with
            repositories that you made or trust.
        endpoint, token: of another Hub than the environment's.

    Raises:
        HubError: the repository cannot be fetched.
        CheckpointError: there is no such folder, or it has no readable manifest.
    """
    folder = _folder(target)
    if folder is not None:
        return Verification(str(target), tuple(_checks(folder, None, run_examples)))
    kind, reference = split_name(str(target))
    if split_reference(reference) is None:
        raise CheckpointError(
            f"{target}: neither an exported folder nor org/name@revision; `hub-models export` first"
        )
    snapshot = download(reference, kind, whole=True, endpoint=endpoint, token=token)
    where = f"{PREFIXES[kind]}{snapshot.repository}@{snapshot.commit}"
    return Verification(where, tuple(_checks(snapshot.folder, snapshot, run_examples)))


def exported(root: Path = DIST) -> list[Path]:
    """Every repository below a folder of exports."""
    return sorted(path.parent for path in root.rglob(MANIFEST))


def _folder(target: str | Path) -> Path | None:
    for folder in (Path(target), DIST / target):
        if (folder / MANIFEST).is_file():
            return folder
    if Path(target).is_dir():
        raise CheckpointError(f"{target}: has no {MANIFEST}; `hub-models export` writes one")
    return None


def _checks(folder: Path, snapshot: Snapshot | None, run_examples: bool) -> list[Check]:
    about = read_manifest(folder)
    name, kind = str(about.get("name", folder.name)), str(about.get("kind", "model"))
    checks = [
        check("name", _named, name, kind),
        check("checksums", verify_files.checksums, folder),
        check("nothing else", verify_files.nothing_else, folder),
        check("contents", verify_files.known_contents, folder),
        check("pins", verify_files.pinned, folder),
        check("origin", _origin, folder, f"{PREFIXES.get(kind, '')}{name}", snapshot),
    ]
    if kind == "dataset":
        checks.append(check("no script", verify_files.no_script, folder))
    if any(each.outcome is Outcome.FAILED for each in checks):
        return checks
    if kind == "dataset":
        checks.append(check("loading", verify_loading.dataset_rows, folder))
    elif kind == "model" and name != WHEEL_REPOSITORY:
        checks += [
            check("code", verify_loading.our_code, folder),
            check("golden output", verify_loading.golden_output, folder),
            check("card figures", verify_card.figures, folder),
        ]
    return [
        *checks,
        check("card metadata", verify_card.metadata, folder, kind),
        check("card examples", verify_card.examples, folder, name, run_examples),
    ]


def _named(name: str, kind: str) -> str:
    if kind not in PREFIXES:
        raise CheckpointError(f"{MANIFEST}: kind {kind!r} is none of {', '.join(PREFIXES)}")
    if not _NAME.fullmatch(name):
        raise CheckpointError(f"{MANIFEST}: name {name!r} can be no repository's")
    return f"{kind} {name}"


def _origin(folder: Path, name: str, snapshot: Snapshot | None) -> str:
    """Whether it is what this project published, by the package's own record and not by the repository's word."""
    release = read_published().get(name)
    if release is None:
        raise NotMade("this hub-models has no record of a release: only integrity was checked")
    same = file_sha256(folder / MANIFEST) == release.manifest_sha256
    where = f"{release.repository}@{release.commit[:12]}"
    if same:
        return f"published by this project as {where}"
    if snapshot and (snapshot.repository, snapshot.commit) == (release.repository, release.commit):
        raise CheckpointError(
            f"{MANIFEST} is not the one that this project published as {where}; do not use it"
        )
    raise NotMade(f"differs from the release that this hub-models knows, {where}: only integrity was checked")
