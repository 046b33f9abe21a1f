"""Checksums and takedowns of a set that lies on disk."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from .spell_errors import ReferencesError
from .spell_index import forget_shard
from .spell_reference_building import names_path
from .spell_reference_manifest import Manifest, Shard, only_writer, read_json, write_manifest
from .spell_reference_shards import erase_rows, removed_rows, shard_path, shard_sha256


def remove_items(folder: Path, manifest: Manifest, names: Iterable[str]) -> Manifest:
    """Stop protecting items, then erase their rows; no shard is rewritten.

    A kill in between leaves rows that protect nothing; `verify_shards` erases them.

    Raises:
        ReferencesError: the set holds no such item; then nothing is removed.
    """
    wanted = set(names)
    shards = list(manifest.shards)
    changed: list[int] = []
    for number, shard in enumerate(shards):
        held = read_json(names_path(folder, shard.name))
        items = {item for item, name in enumerate(held) if name in wanted and item not in shard.removed}
        wanted -= {held[item] for item in items}
        if items:
            changed.append(number)
            shards[number] = replace(shard, removed=tuple(sorted(items.union(shard.removed))))
    if wanted:
        raise ReferencesError(
            f"{folder}: holds no {', '.join(sorted(wanted)[:5])}; `names()` lists what it holds"
        )
    with only_writer(folder):
        for number in changed:
            shards[number] = replace(shards[number], sha256=_digest(folder, manifest, shards[number]))
        fewer = replace(manifest, shards=tuple(shards))
        write_manifest(folder, fewer)
        for number in changed:
            forget_shard(folder, shards[number])
            _erase(folder, manifest, shards[number])
    return fewer


def verify_shards(folder: Path, manifest: Manifest) -> None:
    """Read everything and compare checksums; ends a removal that was interrupted.

    Raises:
        ReferencesError: names every shard that is missing, cut short or changed.
    """
    bad = []
    for shard in manifest.shards:
        path = shard_path(folder, shard.name)
        try:
            digest = _digest(folder, manifest, shard)
        except (OSError, ReferencesError) as error:
            bad.append(str(error))
            continue
        if digest != shard.sha256:
            bad.append(f"{path}: its content has changed (sha256 {digest[:12]}, not {shard.sha256[:12]})")
        elif shard.removed:
            _erase(folder, manifest, shard)
    if bad:
        raise ReferencesError("; ".join(bad) + ". Restore these files from a copy, or build the set again")


def _removed(manifest: Manifest, shard: Shard) -> list[int]:
    views = len(manifest.origin.views)
    return np.sort(removed_rows(shard.removed, views)).tolist()


def _digest(folder: Path, manifest: Manifest, shard: Shard) -> str:
    rows = shard.items * len(manifest.origin.views)
    columns = math.prod(manifest.origin.sample_shape)
    return shard_sha256(shard_path(folder, shard.name), rows, columns, _removed(manifest, shard))


def _erase(folder: Path, manifest: Manifest, shard: Shard) -> None:
    columns = math.prod(manifest.origin.sample_shape)
    erase_rows(shard_path(folder, shard.name), columns, _removed(manifest, shard))
