"""Origin: what this project published, as the package itself knows it.

A manifest beside the weights shows integrity only; who changes one can change both. ``published.json`` comes with the
package, by another way than the repository: name -> repository, commit, sha256 of its manifest. It is written by
``hub-models push --release`` alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .atomic import write_text

PUBLISHED = Path(__file__).parent / "published.json"


@dataclass(frozen=True)
class Published:
    """A repository as it was released.

    Attributes:
        repository: ``org/name`` on the Hub.
        kind: ``model``, ``dataset`` or ``space``.
        commit: full hash.
        manifest_sha256: of MANIFEST.json in that commit.
    """

    repository: str
    kind: str
    commit: str
    manifest_sha256: str


def read_published(path: Path | None = None) -> dict[str, Published]:
    """Name as in ``hub-models export`` -> its latest release; empty before the first."""
    path = path or PUBLISHED
    if not path.is_file():
        return {}
    return {name: Published(**entry) for name, entry in json.loads(path.read_text(encoding="utf-8")).items()}


def record_published(name: str, release: Published, path: Path | None = None) -> None:
    """Make ``release`` the latest of that name."""
    path = path or PUBLISHED
    entries = {**read_published(path), name: release}
    document = {name: asdict(entry) for name, entry in sorted(entries.items())}
    write_text(path, json.dumps(document, indent=2) + "\n")
