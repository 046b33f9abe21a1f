"""A Hub repository in memory: commits that never change, and branches and tags that point to them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from .refusals import Refusal, moved_on, no_entry, no_revision

BIRTH = datetime(2026, 1, 1, tzinfo=UTC)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
#: Web address and API name of the kinds.
PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}


@dataclass(frozen=True)
class Entry:
    """A file of a commit.

    Attributes:
        oid: its git object id; of a large file, that of its pointer.
        sha256: of its bytes, and the name of its blob.
    """

    oid: str
    sha256: str
    size: int
    large: bool = False

    @classmethod
    def small(cls, content: bytes) -> Entry:
        return cls(git_oid(content), hashlib.sha256(content).hexdigest(), len(content))

    @classmethod
    def of_pointer(cls, sha256: str, size: int) -> Entry:
        return cls(git_oid(POINTER.format(sha256=sha256, size=size).encode()), sha256, size, large=True)

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.oid

    @property
    def pointer_size(self) -> int:
        return len(POINTER.format(sha256=self.sha256, size=self.size))


@dataclass(frozen=True)
class Commit:
    """One state of all files."""

    sha: str
    parent: str | None
    title: str
    author: str
    date: str
    files: Mapping[str, Entry]


@dataclass
class Changes:
    """What a commit does to its parent's files."""

    title: str
    description: str = ""
    parent: str | None = None
    added: dict[str, Entry] = field(default_factory=dict)
    deleted_files: list[str] = field(default_factory=list)
    deleted_folders: list[str] = field(default_factory=list)


class Repository:
    """All states of one repository.

    Args:
        name: ``namespace/name``.
    """

    def __init__(self, kind: str, name: str, author: str, files: Mapping[str, Entry]):
        self.kind, self.name = kind, name
        self.private = self.gated = False
        self.sdk: str | None = None
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self._lock = threading.Lock()
        self.branches["main"] = self._record(None, "initial commit", author, files).sha

    @property
    def namespace(self) -> str:
        return self.name.split("/")[0]

    @property
    def head(self) -> Commit:
        return self.commits[self.branches["main"]]

    @property
    def web_path(self) -> str:
        return f"{PREFIX[self.kind]}{self.name}"

    def at(self, revision: str) -> Commit:
        """The commit that a branch, a tag or a commit hash names.

        Raises:
            Refusal: none of them.
        """
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        if sha not in self.commits:
            raise no_revision(revision)
        return self.commits[sha]

    def history(self, commit: Commit) -> Iterator[Commit]:
        """A commit and all before it."""
        yield commit
        while commit.parent:
            commit = self.commits[commit.parent]
            yield commit

    def last_change(self, path: str, commit: Commit) -> Commit:
        """The commit, up to the given one, that made the file or folder what it is."""
        found = commit
        for earlier in self.history(commit):
            if _below(path, earlier) != _below(path, commit):
                return found
            found = earlier
        return found

    def commit(self, branch: str, changes: Changes, author: str) -> Commit:
        """Put a new commit on a branch.

        Raises:
            Refusal: there is no such branch, it moved on since the parent that was named, a file to delete is
                not there, or a path cannot be.
        """
        with self._lock:
            if branch not in self.branches:
                raise no_revision(branch)
            parent = self.commits[self.branches[branch]]
            if changes.parent is not None and changes.parent != parent.sha:
                raise moved_on()
            commit = self._record(parent, changes.title, author, _changed(parent, changes))
            self.branches[branch] = commit.sha
            return commit

    def force(self, files: Mapping[str, Entry], author: str) -> Commit:
        """Make these the files of main, whatever their names."""
        with self._lock:
            commit = self._record(self.head, "forced", author, files)
            self.branches["main"] = commit.sha
            return commit

    def _record(self, parent: Commit | None, title: str, author: str, files: Mapping[str, Entry]) -> Commit:
        date = (BIRTH + timedelta(seconds=len(self.commits))).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        identity = (self.kind, self.name, parent and parent.sha, title, author, date, sorted(files.items()))
        sha = hashlib.sha1(repr(identity).encode("utf-8", "surrogatepass")).hexdigest()
        commit = Commit(sha, parent and parent.sha, title, author, date, dict(files))
        self.commits[sha] = commit
        return commit


def git_oid(content: bytes) -> str:
    """The name that git gives to these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _below(path: str, commit: Commit) -> dict[str, Entry]:
    return {
        name: entry for name, entry in commit.files.items() if name == path or name.startswith(f"{path}/")
    }


def _changed(parent: Commit, changes: Changes) -> dict[str, Entry]:
    files = dict(parent.files)
    for path in changes.deleted_files:
        if files.pop(path, None) is None:
            refusal = no_entry(path, parent.sha)
            raise Refusal(404, "A file with this name doesn't exist", refusal.code)
    for folder in changes.deleted_folders:
        inside = f"{folder.rstrip('/')}/"
        files = {path: entry for path, entry in files.items() if not path.startswith(inside)}
    for path, entry in changes.added.items():
        _check_path(path, files)
        files[path] = entry
    return files


def _check_path(path: str, files: Mapping[str, Entry]) -> None:
    parts = path.split("/")
    if any(part in ("", ".", "..", ".git") for part in parts) or "\0" in path:
        raise Refusal(400, f"Invalid path: {path!r}")
    folders = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
    if folders & files.keys() or any(name.startswith(f"{path}/") for name in files):
        raise Refusal(400, f"Invalid path: {path!r} is both a file and a folder")
