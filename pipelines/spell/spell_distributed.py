"""A set too large for one machine: each process holds some shards, and all search them together.

Every process generates its own images and asks about these; each answers for its own shards. Their questions pair up
in the order they come; who has none left goes on answering until all are done:

    with references:
        images = shielded_pipeline(...)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .spell_errors import ReferencesError
from .spell_protected import InsidePairs, ReferenceSearch
from .spell_reference_manifest import read_manifest
from .spell_references import ReferenceSet


class DistributedReferences:
    """The shards of a set spread over processes; a `Protected` set with the numbers of the whole.

    Args:
        folder: of the set; a process needs only its own shards, every `num_processes`-th.
        accelerator: of `accelerate`.

    Raises:
        ReferencesError: fewer shards than processes, or a set that cannot be opened.
    """

    def __init__(self, folder: Any, accelerator: Any) -> None:
        self._accelerator = accelerator
        manifest = read_manifest(Path(folder))
        mine = range(accelerator.process_index, len(manifest.shards), accelerator.num_processes)
        if len(manifest.shards) < accelerator.num_processes:
            raise ReferencesError(
                f"{folder}: has {len(manifest.shards)} shards for {accelerator.num_processes} processes; start fewer"
            )
        self._part = ReferenceSet(folder, replace(manifest, shards=tuple(manifest.shards[i] for i in mine)))
        self.sample_shape, self.origin = self._part.sample_shape, self._part.origin
        views = len(self.origin.views)
        rows = np.array([shard.items * views for shard in manifest.shards])
        self._shift = _Shift(np.cumsum(rows[mine]) - rows[mine], (np.cumsum(rows) - rows)[mine])
        counts = _gathered(accelerator, len(self._part))
        self._count = sum(counts)

    def __len__(self) -> int:
        """Number of references in all processes."""
        return self._count

    def search(self) -> ReferenceSearch:
        """A fresh search for one generation; every process needs its own, and all take the same steps."""
        return _CollectiveSearch(self._part, self._shift, self._accelerator)

    def nearest(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Number and exact float64 distance of the nearest reference of each query (B, D).

        A collective call: all processes make it, each for its own queries.
        """
        batches = _gathered(self._accelerator, queries.cpu())
        found = [self._part.nearest(batch) for batch in batches]
        everyone = _gathered(
            self._accelerator, [(self._shift(number), distance) for number, distance in found]
        )
        mine = [answers[self._accelerator.process_index] for answers in everyone]
        numbers, distances = torch.stack([each[0] for each in mine]), torch.stack([each[1] for each in mine])
        best = distances.argmin(0, keepdim=True)
        return numbers.gather(0, best)[0].to(queries.device), distances.gather(0, best)[0].to(queries.device)

    def require_made_for(
        self, vae: Any | None = None, resolution: int | tuple[int, int] | None = None
    ) -> None:
        """As of `ReferenceSet`."""
        self._part.require_made_for(vae, resolution)

    def __enter__(self) -> DistributedReferences:
        return self

    def __exit__(self, *error: object) -> None:
        """Answer the other processes until they are done too."""
        if error == (None, None, None):
            while _answer_round(self._part, self._shift, self._accelerator, {}, None) is not None:
                pass

    def typical_distance(self) -> float:
        """Median distance of two references of the first process."""
        return _gathered(self._accelerator, self._part.typical_distance())[0]


class _CollectiveSearch:
    """Each process answers everyone's questions from its own shards, in bounded rounds."""

    def __init__(self, part: ReferenceSet, shift: _Shift, accelerator: Any) -> None:
        self._part, self._shift, self._accelerator = part, shift, accelerator
        self._searches: dict[int, ReferenceSearch] = {}  # of each process: its batch moves on its own

    def within(self, queries: torch.Tensor, radius: float) -> Iterator[InsidePairs]:
        """All references within `radius` of each query of shape (B, D), none missed; consume it to the end."""
        question = (queries.detach().cpu(), radius)
        rounds = _answer_round(self._part, self._shift, self._accelerator, self._searches, question)
        assert rounds is not None
        for pairs in rounds:
            yield InsidePairs(*(each.to(queries.device) for each in pairs))


def _answer_round(
    part: ReferenceSet,
    shift: _Shift,
    accelerator: Any,
    searches: dict[int, ReferenceSearch],
    question: tuple[torch.Tensor, float] | None,
) -> Iterator[InsidePairs] | None:
    """Exchange questions and give the answers to one's own; None where nobody asks any more."""
    questions = _gathered(accelerator, question)
    if all(each is None for each in questions):
        return None
    answers = [
        iter(()) if asked is None else searches.setdefault(asker, part.search()).within(*asked)
        for asker, asked in enumerate(questions)
    ]
    answered = _exchanged(answers, shift, accelerator)
    if question is None:
        for _ in answered:
            pass
        return iter(())
    return answered


def _exchanged(
    answers: list[Iterator[InsidePairs]], shift: _Shift, accelerator: Any
) -> Iterator[InsidePairs]:
    """One chunk of each answer at a time, until all are at their end."""
    while True:
        chunks = [next(answer, None) for answer in answers]
        numbered = [c and c._replace(reference=shift(c.reference)) for c in chunks]
        everyone = _gathered(accelerator, numbered)
        for process in everyone:
            if process[accelerator.process_index] is not None:
                yield process[accelerator.process_index]
        if all(chunk is None for process in everyone for chunk in process):
            return


class _Shift:
    """From the numbers of a part to those of the whole set."""

    def __init__(self, own_starts: np.ndarray, whole_starts: np.ndarray) -> None:
        self._own, self._whole = torch.from_numpy(own_starts), torch.from_numpy(whole_starts)

    def __call__(self, numbers: torch.Tensor) -> torch.Tensor:
        shard = torch.searchsorted(self._own, numbers, right=True) - 1
        return numbers - self._own[shard] + self._whole[shard]


def _gathered(accelerator: Any, value: Any) -> list[Any]:
    """The value of every process, in their order."""
    from accelerate.utils import gather_object

    return gather_object([value]) if accelerator.num_processes > 1 else [value]
