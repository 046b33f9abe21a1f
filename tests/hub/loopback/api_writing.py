"""Routes that change a repository: upload, commit, branches and tags."""

from __future__ import annotations

import base64
import json
from typing import Any

from .gitattributes import is_large
from .messages import Reply, Request, in_json
from .refusals import Refusal, no_revision
from .repositories import Changes, Entry
from .routing import route
from .state import HubState

LFS = "application/vnd.git-lfs+json"


@route("POST", "/api/{kinds}/{repo}/preupload/{revision}")
def preupload(hub: HubState, request: Request, kind: str, repo: str, revision: str) -> Reply:
    """Which of the files are to be uploaded as large ones."""
    repository = hub.open_to_write(request.account, kind, repo)
    commit = repository.at(revision)
    attributes = commit.files.get(".gitattributes")
    text = hub.blobs.read(attributes.sha256).decode() if attributes else ""
    answers = []
    for file in request.json()["files"]:
        large = is_large(file["path"], file["size"], base64.b64decode(file.get("sample", "")), text)
        known = commit.files.get(file["path"])
        answers.append(
            {
                "path": file["path"],
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
                "oid": known.etag if known else None,
            }
        )
    return in_json({"files": answers, "commitOid": commit.sha})


@route("POST", "/{prefix}{repo}.git/info/lfs/objects/batch")
def batch(hub: HubState, request: Request, kind: str, repo: str) -> Reply:
    """Where to upload each large file that is not here yet."""
    repository = hub.open_to_write(request.account, kind, repo)
    objects = []
    for item in request.json()["objects"]:
        answer: dict[str, Any] = {"oid": item["oid"], "size": item["size"], "authenticated": True}
        if item["oid"] not in hub.blobs:
            place = f"{hub.store_url}/_stored/{item['oid']}?signature={hub.signature}"
            verify = f"{hub.url}/{repository.web_path}.git/info/lfs/objects/verify"
            answer["actions"] = {
                "upload": {"href": place, "header": {}},
                "verify": {"href": verify, "header": {}},
            }
        objects.append(answer)
    return in_json({"transfer": "basic", "objects": objects}, Content_Type=LFS)


@route("PUT", "/_stored/{sha256}")
def store(hub: HubState, request: Request, sha256: str) -> Reply:
    if request.query.get("signature") != [hub.signature]:
        raise Refusal(403, "Access Denied")
    hub.blobs.receive(sha256, request.pieces())
    return Reply()


@route("POST", "/{prefix}{repo}.git/info/lfs/objects/verify")
def verify(hub: HubState, request: Request, kind: str, repo: str) -> Reply:
    hub.open_to_write(request.account, kind, repo)
    wanted = request.json()
    _stored_size(hub, wanted["oid"], wanted["size"])
    return in_json({})


@route("POST", "/api/{kinds}/{repo}/commit/{revision}")
def commit(hub: HubState, request: Request, kind: str, repo: str, revision: str) -> Reply:
    repository = hub.open_to_write(request.account, kind, repo)
    if request.asks("create_pr"):
        raise Refusal(501, "the loopback Hub has no pull requests")
    changes = _changes(hub, request.body())
    made = repository.commit(revision, changes, request.account.name if request.account else "")
    url = f"{hub.url}/{repository.web_path}/commit/{made.sha}"
    return in_json({"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""})


@route("POST", "/api/{kinds}/{repo}/branch/{branch}")
def create_branch(hub: HubState, request: Request, kind: str, repo: str, branch: str) -> Reply:
    repository = hub.open_to_write(request.account, kind, repo)
    start = request.json().get("startingPoint", "main")
    if branch in repository.branches:
        raise Refusal(409, f"Reference already exists: {branch}")
    repository.branches[branch] = repository.at(start).sha
    return in_json({})


@route("DELETE", "/api/{kinds}/{repo}/branch/{branch}")
def delete_branch(hub: HubState, request: Request, kind: str, repo: str, branch: str) -> Reply:
    repository = hub.open_to_write(request.account, kind, repo)
    if branch == "main":
        raise Refusal(403, "Cannot delete the main branch")
    if repository.branches.pop(branch, None) is None:
        raise no_revision(branch)
    return in_json({})


@route("POST", "/api/{kinds}/{repo}/tag/{revision}")
def create_tag(hub: HubState, request: Request, kind: str, repo: str, revision: str) -> Reply:
    repository = hub.open_to_write(request.account, kind, repo)
    tag = request.json()["tag"]
    if tag in repository.tags:
        raise Refusal(409, f"Tag reference exists already: {tag}")
    repository.tags[tag] = repository.at(revision).sha
    return in_json({})


@route("DELETE", "/api/{kinds}/{repo}/tag/{tag}")
def delete_tag(hub: HubState, request: Request, kind: str, repo: str, tag: str) -> Reply:
    repository = hub.open_to_write(request.account, kind, repo)
    if repository.tags.pop(tag, None) is None:
        raise no_revision(tag)
    return in_json({})


def _changes(hub: HubState, body: bytes) -> Changes:
    """The commit that lines of JSON describe."""
    changes = Changes("")
    for line in filter(bytes.strip, body.splitlines()):
        operation = json.loads(line)
        key, value = operation["key"], operation["value"]
        if key == "header":
            changes.title, changes.description = value["summary"], value.get("description", "")
            changes.parent = value.get("parentCommit")
        elif key == "file":
            content = base64.b64decode(value["content"])
            hub.blobs.add(content)
            changes.added[value["path"]] = Entry.small(content)
        elif key == "lfsFile":
            size = _stored_size(hub, value["oid"], value.get("size"))
            changes.added[value["path"]] = Entry.of_pointer(value["oid"], size)
        elif key == "deletedFile":
            changes.deleted_files.append(value["path"])
        elif key == "deletedFolder":
            changes.deleted_folders.append(value["path"])
        else:
            raise Refusal(400, f"unknown operation {key}")
    return changes


def _stored_size(hub: HubState, sha256: str, claimed: int | None) -> int:
    if sha256 not in hub.blobs:
        raise Refusal(400, f"LFS object {sha256} was not uploaded")
    size = hub.blobs.path(sha256).stat().st_size
    if claimed not in (None, size):
        raise Refusal(400, f"LFS object {sha256} has {size} bytes, not {claimed}")
    return size
