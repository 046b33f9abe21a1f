"""Every repository of this project, exported and pushed once for all tests that read them back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from hub_models.publishing.repositories import export_repository, repository_names, split_name

from .loopback.accounts import ORGANISATION, WRITE_TOKEN
from .loopback.server import LoopbackHub


@dataclass(frozen=True)
class PushedRepository:
    """Where a repository went.

    Attributes:
        name: as `repository_names` has it.
        repository: ``org/name`` on the Hub.
        folder: what was pushed.
    """

    name: str
    kind: str
    repository: str
    folder: Path
    commit: str

    @property
    def pinned(self) -> str:
        return f"{self.repository}@{self.commit}"

    def has(self, file: str) -> bool:
        return (self.folder / file).is_file()


def push_all(hub: LoopbackHub, out: Path) -> list[PushedRepository]:
    """Export all that can be exported to ``out``, and push it to ``hub``."""
    api = HfApi(endpoint=hub.url, token=WRITE_TOKEN)
    return [_push(api, name, export_repository(name, out)) for name in repository_names()]


def _push(api: HfApi, name: str, folder: Path) -> PushedRepository:
    kind, plain = split_name(name)
    repository = f"{ORGANISATION}/{plain}"
    api.create_repo(repository, repo_type=kind, space_sdk="gradio" if kind == "space" else None)
    done = api.upload_folder(repo_id=repository, repo_type=kind, folder_path=folder)
    return PushedRepository(name, kind, repository, folder, done.oid)
