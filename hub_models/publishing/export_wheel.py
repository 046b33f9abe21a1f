"""The repository that holds the wheel of hub-models, so that an exported Space can install it from where it lies."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

from ..atomic import file_sha256
from ..errors import CheckpointError
from ..manifest import write_manifest
from ..published_code import PACKAGE
from ..repository import replace_folder
from .export import code_licence
from .provenance import about

WHEEL_REPOSITORY = "hub-models-wheel"
#: Where ``make dist`` leaves it.
BUILT = Path("dist")

CARD = """\
---
license: apache-2.0
library_name: hub-models
tags:
- python-wheel
---

# {name}

The Python package `hub-models` {version} as a wheel, with the trained heads and small generators in it. The Spaces of
this project install it from here, by commit and sha256. Whoever wants the library installs it the same way:

```bash
pip install "hub-models @ https://huggingface.co/OWNER/{name}/resolve/COMMIT/{wheel}"
```

Code: Apache-2.0, see `LICENSE`. Each checkpoint in it has the licence that its own card states.
"""


def wheel_path() -> Path | None:
    """The wheel of this version that ``make dist`` built, if it did."""
    path = BUILT / wheel_name()
    return path if path.is_file() else None


def wheel_name() -> str:
    """The file name of this version's wheel."""
    return f"hub_models-{metadata.version('hub-models')}-py3-none-any.whl"


def wheel_address(endpoint: str, repository: str, commit: str, sha256: str) -> str:
    """What a requirement names: pip refuses the wheel if its hash differs.

    Args:
        repository: ``owner/name`` on the Hub.
    """
    return f"{endpoint}/{repository}/resolve/{commit}/{wheel_name()}#sha256={sha256}"


def export_wheel(out: Path) -> Path:
    """Write the repository to ``out / hub-models-wheel`` and return that folder.

    Raises:
        CheckpointError: the wheel was not built, or the place is taken by something else.
    """
    wheel = wheel_path()
    if wheel is None:
        raise CheckpointError(f"{BUILT / wheel_name()}: missing; build it with `make dist`")
    with replace_folder(out / WHEEL_REPOSITORY) as folder:
        shutil.copyfile(wheel, folder / wheel.name)
        card = CARD.format(name=WHEEL_REPOSITORY, version=metadata.version("hub-models"), wheel=wheel.name)
        (folder / "README.md").write_text(card, encoding="utf-8")
        (folder / "LICENSE").write_text(code_licence(), encoding="utf-8")
        write_manifest(
            folder,
            {
                **about(WHEEL_REPOSITORY, "model", "apache-2.0", [PACKAGE]),
                "wheel_sha256": file_sha256(wheel),
            },
        )
    return out / WHEEL_REPOSITORY
