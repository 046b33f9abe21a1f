"""All that the loopback Hub holds, and who may see or change it."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path

from .accounts import ACCOUNTS, Account
from .blobs import Blobs
from .faults import Faults
from .gitattributes import default_attributes
from .refusals import (
    Refusal,
    gated,
    may_not_create,
    needs_write_token,
    no_repository,
    not_logged_in,
    wrong_token,
)
from .repositories import Commit, Entry, Repository

SPACE_CARD = "---\ntitle: {title}\nsdk: {sdk}\napp_file: app.py\n---\n"


class HubState:
    """Repositories, their bytes and the faults; the addresses are known once it is served.

    Attributes:
        store_url: where large files are sent to and fetched from.
        page_size: entries on a page of a listing.
        readers: names of users who were let into gated repositories.
        signature: goes into the addresses that large files are uploaded to, which need no token.
    """

    def __init__(self, folder: Path):
        self.url = self.store_url = ""
        self.blobs = Blobs(folder)
        self.faults = Faults()
        self.page_size = 1000
        self.readers: set[str] = set()
        self.signature = secrets.token_hex(8)
        self.repositories: dict[tuple[str, str], Repository] = {}
        self._lock = threading.Lock()

    # --- what tests use besides HTTP

    def repository(self, name: str, kind: str = "model") -> Repository:
        """A repository, whoever may see it."""
        return self.repositories[kind, name]

    def plant(self, name: str, files: dict[str, bytes], kind: str = "model") -> Commit:
        """Commit these files to main unchecked, as an attacker who owns the server could; create the repository.

        Unlike `commit`, paths may be anything.
        """
        repository = self.repositories.get((kind, name)) or self.create(kind, name, "attacker")
        entries = {path: self._entry(path, content) for path, content in files.items()}
        return repository.force({**repository.head.files, **entries}, "attacker")

    def content(self, name: str, path: str, revision: str = "main", kind: str = "model") -> bytes:
        """The bytes of a file."""
        return self.blobs.read(self.repository(name, kind).at(revision).files[path].sha256)

    # --- what the routes use

    def account(self, authorization: str | None) -> Account | None:
        """Who holds the token of a request.

        Raises:
            Refusal: nobody does.
        """
        if not authorization:
            return None
        account = ACCOUNTS.get(authorization.removeprefix("Bearer "))
        if account is None:
            raise wrong_token()
        return account

    def open(self, account: Account | None, kind: str, name: str) -> Repository:
        """A repository whose existence this account may know of.

        Raises:
            Refusal: there is none, or it is private.
        """
        repository = self.repositories.get((kind, name))
        if repository is None or (repository.private and not _belongs(account, repository.namespace)):
            raise no_repository(known_user=account is not None)
        return repository

    def open_files(self, account: Account | None, kind: str, name: str) -> Repository:
        """A repository whose files this account may read.

        Raises:
            Refusal: as `open`, or it is gated.
        """
        repository = self.open(account, kind, name)
        let_in = account is not None and account.name in self.readers
        if repository.gated and not let_in and not _belongs(account, repository.namespace):
            raise gated(name, known_user=account is not None)
        return repository

    def open_to_write(self, account: Account | None, kind: str, name: str) -> Repository:
        """A repository that this account may change.

        Raises:
            Refusal: as `open`, or it may not.
        """
        if account is None:
            raise not_logged_in()
        repository = self.open(account, kind, name)
        if not account.belongs_to(repository.namespace):
            raise Refusal(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request.")
        if account.role != "write":
            raise needs_write_token()
        return repository

    def check_namespace(self, account: Account | None, kind: str, namespace: str) -> Account:
        """That this account may create repositories there.

        Raises:
            Refusal: it may not.
        """
        if account is None:
            raise not_logged_in()
        if account.role != "write" or not account.belongs_to(namespace):
            raise may_not_create(kind, namespace)
        return account

    def create(self, kind: str, name: str, author: str, sdk: str | None = None) -> Repository:
        """A new repository with the files that the Hub gives it.

        Raises:
            Refusal: the name is taken.
        """
        files = {".gitattributes": default_attributes(kind)}
        if sdk is not None:
            files["README.md"] = SPACE_CARD.format(title=name.split("/")[1], sdk=sdk)
        entries = {path: Entry.small(text.encode()) for path, text in files.items()}
        for text in files.values():
            self.blobs.add(text.encode())
        with self._lock:
            if (kind, name) in self.repositories:
                raise Refusal(409, f"You already created this {kind} repo")
            repository = Repository(kind, name, author, entries)
            repository.sdk = sdk
            self.repositories[kind, name] = repository
        return repository

    def _entry(self, path: str, content: bytes) -> Entry:
        sha256 = self.blobs.add(content)
        if path.endswith((".safetensors", ".bin")):
            return Entry.of_pointer(sha256, len(content))
        return Entry.small(content)


def _belongs(account: Account | None, namespace: str) -> bool:
    return account is not None and account.belongs_to(namespace)
