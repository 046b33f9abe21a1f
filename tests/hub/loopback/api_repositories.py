"""Routes about whole repositories: who am I, create, rename, delete, settings, list, describe."""

from __future__ import annotations

from typing import Any

import yaml

from .messages import Reply, Request, by_pages, in_json
from .refusals import Refusal, not_logged_in
from .repositories import Commit, Repository
from .routing import route
from .state import HubState


@route("GET", "/api/whoami-v2")
def whoami(hub: HubState, request: Request) -> Reply:
    if request.account is None:
        raise not_logged_in()
    return in_json(request.account.describe())


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: HubState, request: Request) -> Reply:
    try:
        metadata = _front_matter(request.json()["content"])
    except yaml.YAMLError as error:
        return in_json({"errors": [{"message": f"YAML Metadata Error: {error}"}], "warnings": []}, status=400)
    warnings = [] if metadata else [{"message": "empty or missing yaml metadata in repo card"}]
    return in_json({"errors": [], "warnings": warnings})


@route("POST", "/api/repos/create")
def create(hub: HubState, request: Request) -> Reply:
    wanted = request.json()
    kind = wanted.get("type") or "model"
    namespace = wanted.get("organization") or (request.account.name if request.account else "")
    account = hub.check_namespace(request.account, kind, namespace)
    name = f"{namespace}/{wanted['name']}"
    try:
        repository = hub.create(kind, name, account.name, wanted.get("sdk"))
    except Refusal as refusal:
        url = f"{hub.url}/{hub.repository(name, kind).web_path}"
        return in_json(
            {"error": refusal.message, "url": url}, refusal.status, X_Error_Message=refusal.message
        )
    _apply_settings(repository, wanted)
    return in_json({"url": f"{hub.url}/{repository.web_path}", "name": name, "id": name})


@route("DELETE", "/api/repos/delete")
def delete(hub: HubState, request: Request) -> Reply:
    wanted = request.json()
    kind = wanted.get("type") or "model"
    namespace = wanted.get("organization") or (request.account.name if request.account else "")
    repository = hub.open_to_write(request.account, kind, f"{namespace}/{wanted['name']}")
    del hub.repositories[kind, repository.name]
    return in_json({})


@route("POST", "/api/repos/move")
def move(hub: HubState, request: Request) -> Reply:
    wanted = request.json()
    kind, new = wanted.get("type") or "model", wanted["toRepo"]
    repository = hub.open_to_write(request.account, kind, wanted["fromRepo"])
    hub.check_namespace(request.account, kind, new.split("/")[0])
    if (kind, new) in hub.repositories:
        raise Refusal(409, f"{new} exists already")
    hub.repositories[kind, new] = hub.repositories.pop((kind, repository.name))
    repository.name = new
    return in_json({})


@route("PUT", "/api/{kinds}/{repo}/settings")
def settings(hub: HubState, request: Request, kind: str, repo: str) -> Reply:
    _apply_settings(hub.open_to_write(request.account, kind, repo), request.json())
    return in_json({})


@route("GET", "/api/{kinds}/{repo}/auth-check")
def auth_check(hub: HubState, request: Request, kind: str, repo: str) -> Reply:
    hub.open_files(request.account, kind, repo)
    return in_json({})


@route("GET", "/api/{kinds}/{repo}/auth-check/write")
def auth_check_write(hub: HubState, request: Request, kind: str, repo: str) -> Reply:
    hub.open_to_write(request.account, kind, repo)
    return in_json({})


@route("GET", "/api/{kinds}")
def listing(hub: HubState, request: Request, kind: str) -> Reply:
    author, search = (request.query.get(name, [""])[0] for name in ("author", "search"))
    seen = [
        describe(hub, repository, repository.head, files=False)
        for (found, name), repository in sorted(hub.repositories.items())
        if found == kind
        and (not author or repository.namespace == author)
        and search.lower() in name.lower()
        and (not repository.private or (request.account and request.account.belongs_to(repository.namespace)))
    ]
    return by_pages(request, seen, hub.page_size, hub.url)


@route("GET", "/api/{kinds}/{repo}")
def info(hub: HubState, request: Request, kind: str, repo: str) -> Reply:
    return info_at(hub, request, kind, repo, "main")


@route("GET", "/api/{kinds}/{repo}/revision/{revision}")
def info_at(hub: HubState, request: Request, kind: str, repo: str, revision: str) -> Reply:
    repository = hub.open(request.account, kind, repo)
    return in_json(describe(hub, repository, repository.at(revision), blobs=request.asks("blobs")))


def describe(
    hub: HubState, repository: Repository, commit: Commit, files: bool = True, blobs: bool = False
) -> dict[str, Any]:
    """What the Hub tells about a repository."""
    card = _card(hub, commit)
    about: dict[str, Any] = {
        "_id": repository.name,
        "id": repository.name,
        "author": repository.namespace,
        "sha": commit.sha,
        "createdAt": next(iter(repository.commits.values())).date,
        "lastModified": commit.date,
        "private": repository.private,
        "gated": "manual" if repository.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": list(card.get("tags") or []),
        "cardData": card,
    }
    if repository.kind == "model":
        about["modelId"] = repository.name
        about |= {name: card[name] for name in ("library_name", "pipeline_tag") if name in card}
    if repository.kind == "space":
        about["sdk"] = card.get("sdk", repository.sdk)
    if files:
        about["siblings"] = [_sibling(path, commit, blobs) for path in sorted(commit.files)]
    return about


def _sibling(path: str, commit: Commit, blobs: bool) -> dict[str, Any]:
    entry = commit.files[path]
    if not blobs:
        return {"rfilename": path}
    about = {"rfilename": path, "blobId": entry.oid, "size": entry.size}
    if entry.large:
        about["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    return about


def _card(hub: HubState, commit: Commit) -> dict[str, Any]:
    entry = commit.files.get("README.md")
    try:
        return _front_matter(hub.blobs.read(entry.sha256).decode("utf-8", "replace")) if entry else {}
    except yaml.YAMLError:
        return {}


def _front_matter(text: str) -> dict[str, Any]:
    if not text.startswith("---"):
        return {}
    metadata = yaml.safe_load(text.split("---")[1])
    if metadata is not None and not isinstance(metadata, dict):
        raise yaml.YAMLError("metadata must be a mapping")
    return metadata or {}


def _apply_settings(repository: Repository, wanted: dict[str, Any]) -> None:
    visibility = wanted.get("visibility")
    if visibility is not None or "private" in wanted:
        repository.private = visibility == "private" or bool(wanted.get("private"))
    if "gated" in wanted:
        repository.gated = bool(wanted["gated"])
