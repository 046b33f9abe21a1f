"""Run by itself, in a process that knows datasets but not this project: every split of data sets, by id.

Arguments: ``id@revision`` of each data set. Prints JSON: configuration -> number of rows and the first one. Streams
them too, unless offline: a stream is never cached.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from datasets import config, get_dataset_config_names, load_dataset


def main(*references: str) -> None:
    print(json.dumps({reference: tables(*reference.split("@")) for reference in references}))


def tables(repository: str, revision: str) -> dict[str, Any]:
    found = {}
    for name in get_dataset_config_names(repository, revision=revision):
        for split, rows in load_dataset(repository, name, revision=revision).items():
            if not config.HF_HUB_OFFLINE:
                stream = load_dataset(repository, name, split=split, revision=revision, streaming=True)
                assert list(stream) == list(rows)
            found[f"{name}/{split}"] = [len(rows), rows[0]]
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
