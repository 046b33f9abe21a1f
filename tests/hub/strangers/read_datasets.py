"""Run by itself, in a process that knows datasets but not this project: every split of data sets, by id.

Arguments: ``id@revision`` of a data set, and names of configurations; none means all, which only the Hub can tell.
Prints JSON: configuration -> split, number of rows, the first one. Streams them too, but not offline.
"""

from __future__ import annotations

import json
import sys

from datasets import config, get_dataset_config_names, load_dataset


def main(reference: str, *names: str) -> None:
    repository, revision = reference.split("@")
    found = {}
    for name in names or get_dataset_config_names(repository, revision=revision):
        for split, rows in load_dataset(repository, name, revision=revision).items():
            if not config.HF_HUB_OFFLINE:
                stream = load_dataset(repository, name, split=split, revision=revision, streaming=True)
                assert list(stream) == list(rows)
            found[name] = [split, len(rows), rows[0]]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
