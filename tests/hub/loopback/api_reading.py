"""Routes that read one revision: its tree, its history, its files' data, and the files themselves."""

from __future__ import annotations

import hashlib
import urllib.parse
from typing import Any

from .messages import Reply, Request, by_pages, in_bytes, in_json
from .refusals import Refusal, no_entry
from .repositories import Commit, Repository
from .routing import route
from .state import HubState


@route("GET", "/api/{kinds}/{repo}/tree/{revision}")
def root_tree(hub: HubState, request: Request, kind: str, repo: str, revision: str) -> Reply:
    return tree(hub, request, kind, repo, revision, "")


@route("GET", "/api/{kinds}/{repo}/tree/{revision}/{path}")
def tree(hub: HubState, request: Request, kind: str, repo: str, revision: str, path: str) -> Reply:
    repository = hub.open(request.account, kind, repo)
    commit = repository.at(revision)
    prefix = f"{path.strip('/')}/" if path else ""
    recursive = request.asks("recursive")
    found = set()
    for name in commit.files:
        if name.startswith(prefix):
            steps = name.removeprefix(prefix).split("/")
            deepest = len(steps) if recursive else 1
            found.update(prefix + "/".join(steps[:depth]) for depth in range(1, deepest + 1))
    if path and not found:
        raise no_entry(path, commit.sha)
    items = [_item(repository, commit, name, request.asks("expand")) for name in sorted(found)]
    return by_pages(request, items, hub.page_size, hub.url)


@route("POST", "/api/{kinds}/{repo}/paths-info/{revision}")
def paths_info(hub: HubState, request: Request, kind: str, repo: str, revision: str) -> Reply:
    repository = hub.open(request.account, kind, repo)
    commit = repository.at(revision)
    if "json" in request.headers.get("Content-Type", ""):
        wanted = request.json()
        paths, expand = wanted.get("paths", []), bool(wanted.get("expand"))
    else:
        form = urllib.parse.parse_qs(request.body().decode())
        paths, expand = form.get("paths", []), form.get("expand", [""])[0].lower() == "true"
    known = [path for path in paths if _is_known(commit, path)]
    return in_json([_item(repository, commit, path, expand) for path in known])


@route("GET", "/api/{kinds}/{repo}/commits/{revision}")
def commits(hub: HubState, request: Request, kind: str, repo: str, revision: str) -> Reply:
    repository = hub.open(request.account, kind, repo)
    history = [
        {
            "id": commit.sha,
            "title": commit.title,
            "message": "",
            "authors": [{"user": commit.author}],
            "date": commit.date,
        }
        for commit in repository.history(repository.at(revision))
    ]
    return by_pages(request, history, hub.page_size, hub.url)


@route("GET", "/api/{kinds}/{repo}/refs")
def refs(hub: HubState, request: Request, kind: str, repo: str) -> Reply:
    repository = hub.open(request.account, kind, repo)

    def listed(folder: str, pointers: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": sha}
            for name, sha in pointers.items()
        ]

    return in_json(
        {
            "branches": listed("heads", repository.branches),
            "tags": listed("tags", repository.tags),
            "converts": [],
            "pullRequests": [],
        }
    )


@route("GET HEAD", "/{prefix}{repo}/resolve/{revision}/{path}")
def resolve(hub: HubState, request: Request, kind: str, repo: str, revision: str, path: str) -> Reply:
    """A file; a large one lies elsewhere, and the way there needs no token."""
    repository = hub.open_files(request.account, kind, repo)
    commit = repository.at(revision)
    entry = commit.files.get(path)
    if entry is None:
        raise no_entry(path, commit.sha)
    name = urllib.parse.quote(path.rsplit("/", 1)[-1])
    headers = {
        "X-Repo-Commit": commit.sha,
        "ETag": f'"{entry.etag}"',
        "Content-Disposition": f"inline; filename*=UTF-8''{name}; filename=\"{name}\";",
    }
    if not entry.large:
        return in_bytes(hub.blobs.path(entry.sha256), request, headers)
    headers |= {
        "X-Linked-Etag": f'"{entry.sha256}"',
        "X-Linked-Size": str(entry.size),
        "Location": f"{hub.store_url}/_stored/{entry.sha256}?signature={hub.signature}",
    }
    return Reply(status=302, headers=headers)


@route("GET HEAD", "/_stored/{sha256}")
def stored(hub: HubState, request: Request, sha256: str) -> Reply:
    """The place where large files lie."""
    if request.query.get("signature") != [hub.signature] or sha256 not in hub.blobs:
        raise Refusal(403, "Access Denied")
    return in_bytes(hub.blobs.path(sha256), request, {"ETag": f'"{sha256}"'})


def _is_known(commit: Commit, path: str) -> bool:
    return path in commit.files or any(name.startswith(f"{path}/") for name in commit.files)


def _item(repository: Repository, commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    entry = commit.files.get(path)
    if entry is None:
        oid = hashlib.sha1(f"{commit.sha}/{path}".encode("utf-8", "surrogatepass")).hexdigest()
        item: dict[str, Any] = {"type": "directory", "path": path, "oid": oid, "size": 0}
    else:
        item = {"type": "file", "path": path, "oid": entry.oid, "size": entry.size}
        if entry.large:
            item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    if expand:
        last = repository.last_change(path, commit)
        item["lastCommit"] = {"id": last.sha, "title": last.title, "date": last.date}
    return item
