"""A set of protected references on disk: made once, opened anywhere, searched exactly, however large."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .spell_encoding import view_names
from .spell_errors import ReferencesError
from .spell_index import Index, load_index
from .spell_memory import MemoryReferences
from .spell_protected import ReferenceSearch
from .spell_reference_building import extend_set, names_path
from .spell_reference_manifest import MANIFEST, Manifest, Shard, read_json, read_manifest
from .spell_reference_shards import removed_rows, shard_path
from .spell_reference_upkeep import remove_items, verify_shards
from .spell_reference_work import plan_work, require_origin
from .spell_rerank import RowReader
from .spell_search import IndexedSearch
from .spell_small_search import SmallSearch

SMALL_BYTES = 1 << 28  # a set that takes no more as float32 is searched in memory, without an index


class ReferenceSet:
    """Protected references in a folder; a `Protected` set.

    Made by `ReferenceSet.build` or `ReferenceSet.open`. A reference keeps its number for good: those of removed
    references are not given out again, so numbers may exceed `len`.

    Attributes:
        folder: where it lies.
        origin: what the references were made with.
        sample_shape: of one reference, the model's own sample shape.
    """

    def __init__(self, folder: str | Path, manifest: Manifest) -> None:
        self.folder = Path(folder)
        self._adopt(manifest)

    @classmethod
    def build(
        cls,
        images: Sequence[Any] | torch.Tensor | None = None,
        *,
        folder: str | Path,
        latents: Any | None = None,
        vae: Any | None = None,
        resolution: int | tuple[int, int] | None = None,
        channels: int | None = None,
        names: Sequence[str] | None = None,
        flip: bool = False,
        crops: Sequence[float] = (),
        packed: bool = False,
        batch_size: int = 8,
        accelerator: Any | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> ReferenceSet:
        """Make a set, or go on with one that was interrupted.

        A reference is what the VAE's mean makes of an image, shifted and scaled as the model's pipelines do it,
        rounded to fp16; without a VAE it is the image in [-1, 1].

        Args:
            images: paths, PIL images or tensors (C, H, W) in [-1, 1]; anything that can be sliced.
            folder: of the set.
            latents: instead of images, references in the model's own sample space, shape (N, *sample shape);
                anything that can be sliced into arrays or tensors.
            vae: the model's own; None for a model of pixels. With latents, the one they came from.
            resolution: images are brought to it; needed unless images are tensors.
            channels: of the images, 1 or 3; by default those of the VAE or the tensors, or 3.
            names: a different one for each item, for removal and reports; by default its number.
            flip: also protect each view mirrored.
            crops: also protect centre crops that take away these shares of each side, such as 0.1.
            packed: pack the latents in 2x2 patches, for a model whose samples are packed (FLUX).
            batch_size: images encoded at once.
            accelerator: of `accelerate`, to encode in several processes; the folder must be shared.
            progress: called with the number of further items done.

        Raises:
            ReferencesError: nothing given, a reference that is not finite or exceeds fp16, repeated names, a
                folder that holds another set, or a full disk.
        """
        folder = Path(folder)
        if (folder / MANIFEST).is_file():
            raise ReferencesError(
                f"{folder}: holds a finished set; open it with ReferenceSet.open, extend it with add, or choose "
                "another folder"
            )
        views = view_names(flip, crops)
        work = plan_work(
            images,
            latents,
            vae=vae,
            resolution=resolution,
            channels=channels,
            names=names,
            views=views,
            packed=packed,
            batch_size=batch_size,
        )
        return cls(folder, extend_set(folder, (), work, accelerator, progress))

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        vae: Any | None = None,
        resolution: int | tuple[int, int] | None = None,
    ) -> ReferenceSet:
        """Open a finished set; give the model's VAE (and resolution) to make sure that it was made for them.

        Raises:
            ReferencesError: no finished set, a shard cut short, or a set made for another model.
        """
        opened = cls(folder, read_manifest(Path(folder)))
        if vae is not None:
            opened.require_made_for(vae, resolution)
        return opened

    def require_made_for(
        self, vae: Any | None = None, resolution: int | tuple[int, int] | None = None
    ) -> None:
        """Raise unless the references were encoded by this VAE, at this resolution where one is given.

        Raises:
            ReferencesError: names both. Where the set was made of given latents without a VAE nothing is known,
                and only their shape can fail later.
        """
        require_origin(self.folder, self.origin, vae, resolution)

    def __len__(self) -> int:
        """Number of references that protect: images times views, without those removed."""
        return self._views * sum(shard.items - len(shard.removed) for shard in self._shards)

    def name(self, reference: int) -> tuple[str, str]:
        """The item and the view behind a reference number, such as ("a/b.png", "flip")."""
        shard = int(np.searchsorted(self._reader.starts, reference, side="right")) - 1
        item, view = divmod(int(reference - self._reader.starts[shard]), self._views)
        return read_json(names_path(self.folder, self._shards[shard].name))[item], self.origin.views[view]

    def names(self) -> list[str]:
        """Names of all items that protect."""
        return [
            name
            for shard in self._shards
            for item, name in enumerate(read_json(names_path(self.folder, shard.name)))
            if item not in shard.removed
        ]

    def add(
        self,
        images: Sequence[Any] | torch.Tensor | None = None,
        *,
        latents: Any | None = None,
        vae: Any | None = None,
        names: Sequence[str] | None = None,
        batch_size: int = 8,
        accelerator: Any | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Protect more items, made into references as the set's own were; an interrupted addition is continued.

        Args: as of `build`.

        Raises:
            ReferencesError: as `build`; also another VAE or shape, or a name that the set holds already.
        """
        made = self.origin
        if vae is not None or images is not None:
            self.require_made_for(vae)
        work = plan_work(
            images,
            latents,
            vae=vae,
            resolution=made.resolution,
            channels=None if vae is not None or latents is not None else made.sample_shape[0],
            names=names,
            views=made.views,
            packed=images is not None and vae is not None and len(made.sample_shape) == 2,
            batch_size=batch_size,
        )
        if work.origin.sample_shape != made.sample_shape:
            raise ReferencesError(
                f"{self.folder}: holds references of shape {made.sample_shape}, not {work.origin.sample_shape}"
            )
        work = work._replace(
            origin=made,
            first_item=sum(shard.items for shard in self._shards),
            first_shard=len(self._shards),
        )
        if known := sorted(set(self.names()) & {work.name(i) for i in range(len(work.items))}):
            raise ReferencesError(
                f"{self.folder}: holds {', '.join(known[:5])} already; remove them first or choose other names"
            )
        manifest = extend_set(self.folder, self._shards, work, accelerator, progress)
        self._adopt(manifest)

    def remove(self, names: Iterable[str]) -> None:
        """Stop protecting items, and erase what the folder holds of them; no shard is rewritten.

        Searches that are under way keep what they began with.

        Raises:
            ReferencesError: the set holds no such item; then nothing is removed.
        """
        self._adopt(remove_items(self.folder, self._manifest, names))

    def verify(self) -> None:
        """Read everything and compare checksums; also ends a removal that was interrupted.

        Raises:
            ReferencesError: names every shard that is missing, cut short or changed.
        """
        verify_shards(self.folder, self._manifest)

    def prepare(self, progress: Callable[[int], None] | None = None) -> None:
        """Load what `search` needs, or make it: minutes for a million references, once. `search` does it too."""
        if self._searchable is not None:
            return
        if 4 * len(self) * self._columns > SMALL_BYTES:
            self._searchable = load_index(
                self.folder, self.sample_shape, self._shards, self._reader, progress
            )
            return
        self.verify()
        live = self.live()
        if not len(live):
            raise ReferencesError(
                f"{self.folder}: every reference has been removed; add some or leave the shield off"
            )
        rows = torch.from_numpy(self._reader.read(live)).view(-1, *self.sample_shape)
        self._searchable = SmallSearch(rows, torch.from_numpy(live))

    def search(self) -> ReferenceSearch:
        """A fresh search for one generation.

        Raises:
            ReferencesError: every reference has been removed, or a small set does not match its checksums.
        """
        return self._search()

    def nearest(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Number and exact float64 distance of the nearest reference of each query (B, D): two (B,) tensors."""
        return self._search().nearest(queries)

    def live(self) -> np.ndarray:
        """Numbers of the references that protect, ascending."""
        removed = [
            removed_rows(shard.removed, self._views, int(first))
            for shard, first in zip(self._shards, self._reader.starts, strict=False)
        ]
        return np.setdiff1d(np.arange(len(self._reader)), np.concatenate(removed))

    def rows(self, numbers: Iterable[int]) -> torch.Tensor:
        """References by their numbers, shape (M, *sample shape), float32."""
        wanted, place = np.unique(np.asarray(list(numbers), dtype=np.int64), return_inverse=True)
        return torch.from_numpy(self._reader.read(wanted)[place]).float().view(-1, *self.sample_shape)

    def typical_distance(self, pairs: int = 512) -> float:
        """Median distance of two different references, from evenly chosen pairs; nan where there is only one."""
        live = self.live()
        if len(live) < 2:
            return float("nan")
        return MemoryReferences(self.rows(live[:: max(1, len(live) // pairs)])).typical_distance(pairs)

    def _search(self) -> SmallSearch | IndexedSearch:
        self.prepare()
        if isinstance(self._searchable, Index):
            return IndexedSearch(self._searchable, self._reader)
        assert self._searchable is not None
        return self._searchable

    def _adopt(self, manifest: Manifest) -> None:
        """Become the set of a manifest; searches under way keep their own files and index."""
        self._manifest = manifest
        self.origin, self.sample_shape = manifest.origin, manifest.origin.sample_shape
        self._shards: tuple[Shard, ...] = manifest.shards
        self._views, self._columns = len(self.origin.views), int(np.prod(self.sample_shape))
        rows = [shard.items * self._views for shard in self._shards]
        self._reader = RowReader(
            [shard_path(self.folder, shard.name) for shard in self._shards], rows, self._columns
        )
        self._searchable: Index | SmallSearch | None = None
