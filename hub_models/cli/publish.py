"""``hub-models export``, ``verify`` and ``push``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import zoo
from .options import Json, print_json

if TYPE_CHECKING:
    from ..publishing.push_report import PushReport
    from ..publishing.verification import Verification

Names = Annotated[
    str | None,
    typer.Argument(
        help="A model or pipeline (`hub-models list`), datasets/NAME, spaces/NAME, or the folder of a checkpoint."
    ),
]
All = Annotated[bool, typer.Option("--all", help="All that can be exported.")]
Endpoint = Annotated[str | None, typer.Option(help="Another Hub than HF_ENDPOINT.")]


def export(
    name: Names = None,
    every: All = False,
    out: Annotated[Path, typer.Option(help="Folder to write below.")] = zoo.DIST,
) -> None:
    """Write a complete Hub repository, with code, weights, card and checksums."""
    from ..publishing.repositories import export_repository

    for each in _chosen(name, every):
        print(export_repository(each, out), flush=True)
    if every:
        _tell_skipped()


def verify(
    target: Annotated[
        str | None,
        typer.Argument(help="An exported folder, or org/name@revision (datasets/ or spaces/ before it)."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All exports below --out, their examples run.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where `hub-models export` wrote.")] = zoo.DIST,
    run_examples: Annotated[
        bool, typer.Option(help="Run the code blocks of the card: only of what you made or trust.")
    ] = False,
    endpoint: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Check checksums, contents, pins, origin, loading, stored output and card; status 1 if a check fails."""
    from ..errors import CheckpointError
    from ..publishing.verify import exported
    from ..publishing.verify import verify as verify_one

    _require_one(target, every, "TARGET")
    targets = [target] if target is not None else exported(out)
    if not targets:
        raise CheckpointError(f"{out}: holds no export; run `hub-models export --all` first")
    done = []
    for each in targets:
        done.append(verify_one(each, run_examples=run_examples or every, endpoint=endpoint))
        if not as_json:
            _print_verification(done[-1])
    if as_json:
        print_json([{"passed": each.passed, **asdict(each)} for each in done])
    if not all(each.passed for each in done):
        raise typer.Exit(1)


def push(
    org: Annotated[str, typer.Option(help="User or organisation that owns the repository.")],
    name: Names = None,
    every: All = False,
    private: Annotated[bool, typer.Option(help="A new repository is private.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done, and do nothing.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch; made if missing.")] = None,
    endpoint: Endpoint = None,
    release: Annotated[
        bool, typer.Option(help="Record commit and manifest in hub_models/published.json, to be committed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Export, verify and publish, one commit a repository. The token is the one of `hf auth login` or HF_TOKEN."""
    from ..published import record_published
    from ..publishing.push import push as push_one

    done = []
    for each in _chosen(name, every):
        report = push_one(each, org, private=private, dry_run=dry_run, revision=revision, endpoint=endpoint)
        done.append(report)
        if not as_json:
            print(_sentence(report, dry_run), flush=True)
        recorded = report.release()
        if release and not dry_run and recorded is not None:
            record_published(report.name, recorded)
    if as_json:
        print_json([asdict(report) for report in done])
    elif every:
        _tell_skipped()


def _chosen(name: str | None, every: bool) -> list[str]:
    from ..publishing.repositories import repository_names

    _require_one(name, every, "NAME")
    return repository_names() if name is None else [name]


def _require_one(name: str | None, every: bool, words: str) -> None:
    if (name is None) != every:
        raise typer.BadParameter(f"give either a {words} or --all")


def _tell_skipped() -> None:
    from ..publishing.repositories import skipped_repositories

    for name, reason in skipped_repositories().items():
        print(f"skipped: {name}: {reason}", file=sys.stderr)


def _print_verification(verification: Verification) -> None:
    print(f"{verification.target}: {'passed' if verification.passed else 'FAILED'}")
    for check in verification.checks:
        print(f"    {check.outcome:<9} {check.name:<14} {check.detail}")
    sys.stdout.flush()


def _sentence(report: PushReport, dry_run: bool) -> str:
    if not report.changed:
        return f"{report.url}: as it is, nothing to do"
    did = "would be" if dry_run else "was"
    made = f"{did} {'made' if report.created else 'updated'}"
    where = f" at {report.commit}" if report.commit else ""
    return (
        f"{report.url}: {made}{where}; {len(report.uploaded)} files uploaded, {len(report.deleted)} deleted"
    )


COMMANDS = {"export": export, "verify": verify, "push": push}
