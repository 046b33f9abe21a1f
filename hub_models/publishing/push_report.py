"""What a push did, or would do."""

from __future__ import annotations

from dataclasses import dataclass

from ..published import Published


@dataclass(frozen=True)
class PushReport:
    """One repository.

    Attributes:
        name: as in ``hub-models export``.
        kind: ``model``, ``dataset`` or ``space``.
        repository: ``org/name`` on the Hub.
        endpoint: the Hub.
        commit: that holds these files; None after a dry run that would have made one.
        changed: whether this push made, or would make, a commit.
        created: whether the repository is new.
        uploaded, deleted: names of files.
        manifest_sha256: of the MANIFEST.json that was pushed.
    """

    name: str
    kind: str
    repository: str
    endpoint: str
    commit: str | None
    changed: bool
    created: bool
    uploaded: tuple[str, ...]
    deleted: tuple[str, ...]
    manifest_sha256: str

    @property
    def url(self) -> str:
        """Where to look at it."""
        prefix = "" if self.kind == "model" else f"{self.kind}s/"
        return f"{self.endpoint}/{prefix}{self.repository}"

    def release(self) -> Published | None:
        """The record that makes it the release of its name; None without a commit."""
        if self.commit is None:
            return None
        return Published(self.repository, self.kind, self.commit, self.manifest_sha256)
