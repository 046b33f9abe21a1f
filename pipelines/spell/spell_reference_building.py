"""Filling shards: encode, check, append; go on after a kill; each process its own shards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .spell_errors import ReferencesError
from .spell_reference_manifest import Manifest, Shard, only_writer, read_json, write_json, write_manifest
from .spell_reference_shards import SHARD_BYTES, GrowingShard, require_size, shard_path, shard_sha256
from .spell_reference_work import Work

PLAN = "building.json"
_LARGEST = float(np.finfo(np.float16).max)


def extend_set(
    folder: Path,
    shards: tuple[Shard, ...],
    work: Work,
    accelerator: Any | None,
    progress: Callable[[int], None] | None,
) -> Manifest:
    """Write the shards of some work after those that are there, and put the new manifest in place.

    Raises:
        ReferencesError: as `ReferenceSet.build`.
    """
    main = accelerator is None or accelerator.is_main_process
    with only_writer(folder) if main else nullcontext():
        manifest = Manifest(work.origin, (*shards, *_fill_shards(work, folder, accelerator, progress)))
        if main:
            write_manifest(folder, manifest)
        if accelerator is not None:
            accelerator.wait_for_everyone()
        if main:
            _forget_plan(folder)
    return manifest


def _fill_shards(
    work: Work, folder: Path, accelerator: Any | None, progress: Callable[[int], None] | None
) -> list[Shard]:
    """Write the shards of some items, or go on with them; every process returns the whole list.

    Args:
        work: what to write.
        folder: of the set.
        accelerator: of `accelerate`; splits the shards over its processes.
        progress: is told of every further number of items done by this process.

    Raises:
        ReferencesError: the folder holds the beginning of other work, a reference is not finite or exceeds fp16,
            or the disk is full.
    """
    rank, ranks = (
        (accelerator.process_index, accelerator.num_processes) if accelerator is not None else (0, 1)
    )
    if rank == 0:
        _claim(work, folder)
    if accelerator is not None:
        accelerator.wait_for_everyone()
    shards = list(_spans(work))
    for name, items in shards[rank::ranks]:
        _fill(work, folder, name, items, progress)
    if accelerator is not None:
        accelerator.wait_for_everyone()
    return [_finished(folder, name) for name, _ in shards]


def _forget_plan(folder: Path) -> None:
    """After the manifest holds the new shards, what led to them may go."""
    for note in (*folder.glob("shard-*.done.json"), folder / PLAN):
        note.unlink(missing_ok=True)


def names_path(folder: Path, shard: str) -> Path:
    """Where the names of a shard's items lie."""
    return folder / f"{shard}.names.json"


def _claim(work: Work, folder: Path) -> None:
    """Note what is being built; refuse to go on with something else."""
    names = hashlib.sha256("\n".join(work.name(i) for i in range(len(work.items))).encode())
    plan = {
        "origin": asdict(work.origin),
        "items": len(work.items),
        "names_sha256": names.hexdigest(),
        "first_shard": work.first_shard,
    }
    path = folder / PLAN
    if path.exists():
        began = read_json(path)
        different = [key for key in plan if _plain(plan[key]) != began.get(key)]
        if different:
            raise ReferencesError(
                f"{folder}: an unfinished build of other references lies here (its {', '.join(different)} differ); "
                f"finish it with the same arguments, or delete {path} to begin anew"
            )
        return
    for stray in folder.glob("shard-*"):  # of an earlier beginning that was given up
        if int(stray.name[6:11]) >= work.first_shard:
            stray.unlink()
    write_json(path, plan)


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _spans(work: Work) -> list[tuple[str, range]]:
    item_bytes = 2 * int(np.prod(work.origin.sample_shape)) * len(work.origin.views)
    size = max(1, SHARD_BYTES // item_bytes // 64 * 64)
    starts = range(0, len(work.items), size)
    return [
        (f"shard-{work.first_shard + number:05d}", range(start, min(start + size, len(work.items))))
        for number, start in enumerate(starts)
    ]


def _fill(work: Work, folder: Path, name: str, items: range, progress: Callable[[int], None] | None) -> None:
    note = folder / f"{name}.done.json"
    if note.exists():
        if progress is not None:
            progress(len(items))
        return
    views, columns = len(work.origin.views), int(np.prod(work.origin.sample_shape))
    path, rows = shard_path(folder, name), len(items) * views
    if not path.exists():  # else killed between here and the note
        shard = GrowingShard(folder, name, rows, columns)
        done = shard.whole_rows(views) // views
        if progress is not None and done:
            progress(done)
        for start in range(items.start + done, items.stop, work.batch):
            some = range(start, min(start + work.batch, items.stop))
            shard.append(_rows(work, some))
            if progress is not None:
                progress(len(some))
        shard.finish()
    require_size(path, rows, columns)
    write_json(names_path(folder, name), [work.name(item) for item in items])
    digest = shard_sha256(path, rows, columns, ())
    write_json(note, {"name": name, "items": len(items), "sha256": digest})


def _rows(work: Work, items: range) -> np.ndarray:
    """Rows of some items as fp16."""
    encoded = work.encode(work.items[items.start : items.stop])
    views, shape = len(work.origin.views), work.origin.sample_shape
    if tuple(encoded.shape) != (len(items) * views, *shape):
        raise ReferencesError(
            f"{work.name(items.start)}: encoded to shape {tuple(encoded.shape[1:])} where {shape} is expected; all "
            "references of a set have one shape"
        )
    rows = encoded.detach().float().cpu().flatten(1).numpy()
    largest = np.abs(rows).max(axis=1)
    bad = ~(largest <= _LARGEST)
    if bad.any():
        first = int(bad.argmax())
        raise ReferencesError(
            f"{work.name(items[first // views])}: its reference has largest magnitude {largest[first]:.6g}, beyond "
            f"what fp16 holds ({_LARGEST:.0f}); look at the image, or encode with the VAE in float32"
        )
    return rows.astype(np.float16)


def _finished(folder: Path, name: str) -> Shard:
    return Shard(**read_json(folder / f"{name}.done.json"))
