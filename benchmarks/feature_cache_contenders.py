"""The ways to train an uncertainty head, and to read cached features, that `feature_cache.py` times.

Each function prepares a contender and returns a callable that does the work and says how many samples it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from hub_models.backbones import frozen_graph
from hub_models.image_features import classify
from hub_models.image_sources import ImageSource, read_source_image
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel
from hub_models.training.feature_cache import FeatureCache
from hub_models.training.feature_graph import FeatureGraph
from hub_models.training.fit import CachedInputs, fit_head
from hub_models.training.losses import order_loss
from hub_models.training.recipe import TrainingRecipe
from hub_models.training.views import ViewMaker
from hub_models.uncertainty_head import UncertaintyHead

BATCH = 128
Contender = Callable[[], int]


def cached(model: ImageUncertaintyModel, cache: FeatureCache, losses: np.ndarray, passes: int) -> Contender:
    """`fit_head` on the pre-logits of a cache, as `hub-models train` calls it."""
    images, views = np.arange(len(cache.pooled)), np.arange(cache.views.count)
    recipe = TrainingRecipe(passes=passes, batch_size=BATCH)

    def work() -> int:
        inputs = CachedInputs(model, cache, images, views, ["pooled"])
        fit_head(_paper_head(cache.pooled.shape[2]), inputs, losses.reshape(-1), order_loss, recipe, seed=0)
        return passes * (len(inputs) // BATCH) * BATCH

    return work


def forward_each_step(
    backbone: nn.Module, pixels: Tensor, labels: Tensor, micro_batch: int, batches: int
) -> Contender:
    """The frozen backbone runs for every batch: frozen graph, channels_last, in micro-batches."""
    frozen = _PooledAndLogits(copy.deepcopy(backbone)).eval().to(memory_format=torch.channels_last)
    graph = frozen_graph(frozen, pixels[:micro_batch])

    @torch.inference_mode()
    def features() -> tuple[Tensor, Tensor]:
        parts = [graph(part) for part in pixels.split(micro_batch)]
        pooled, logits = (torch.cat(column) for column in zip(*parts, strict=True))
        return pooled, nn.functional.cross_entropy(logits, labels, reduction="none")

    def batch() -> Iterable[tuple[Tensor, Tensor]]:
        for _ in range(batches):
            pooled, losses = features()
            yield pooled.clone(), losses.clone()  # outside inference mode, so that autograd may save them

    return lambda: _train_head(batch())


def joint(backbone: nn.Module, pixels: Tensor, labels: Tensor, micro_batch: int) -> Contender:
    """One step of backbone, classifier and head: channels_last, gradients summed over micro-batches."""
    trained = _PooledAndLogits(copy.deepcopy(backbone)).to(memory_format=torch.channels_last)
    trained.requires_grad_(True).train()
    head = _paper_head(trained.width)
    optimiser = torch.optim.AdamW([*trained.parameters(), *head.parameters()], lr=1e-4, fused=True)

    def work() -> int:
        optimiser.zero_grad(set_to_none=True)
        for part, truth in zip(pixels.split(micro_batch), labels.split(micro_batch), strict=True):
            pooled, logits = trained(part)
            task = nn.functional.cross_entropy(logits, truth, reduction="none")
            loss = task.mean() + order_loss(head(pooled.detach()), task.detach())
            (loss * len(part) / len(pixels)).backward()
        optimiser.step()
        return len(pixels)

    return work


def cache_pass(model: ImageUncertaintyModel, pixels: Tensor) -> Contender:
    """What `build_feature_cache` runs for every view, decoding and writing left out."""
    graph = FeatureGraph(model, pixels.device)
    return lambda: len(graph(pixels)["pooled"])


def decode(source: ImageSource, maker: ViewMaker) -> Contender:
    """Decode each image once and make its second view, a random crop."""

    def work() -> int:
        for index in range(len(source)):
            maker.make(read_source_image(source, index), f"{index:064x}", view=1)
        return len(source)

    return work


def read_cache(model: ImageUncertaintyModel, cache: FeatureCache) -> Contender:
    """Every row of a cache once, in random order, in batches: what `fit_head` does where memory is short."""
    images, views = np.arange(len(cache.pooled)), np.arange(cache.views.count)
    inputs = CachedInputs(model, cache, images, views, ["pooled"])

    def work() -> int:
        order = np.random.default_rng(0).permutation(len(inputs))
        return sum(len(inputs.read(order[i : i + BATCH])) for i in range(0, len(order), BATCH))

    return work


class Hdf5Rows(Dataset):
    """Rows of an HDF5 file, one at a time: the map-style data set that PyTorch users write."""

    def __init__(self, path: Path, losses: np.ndarray) -> None:
        self.embed, self.losses = h5py.File(path, "r")["embed"], losses.reshape(-1)

    def __len__(self) -> int:
        return len(self.losses)

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.float32]:
        return self.embed[row], self.losses[row]


def write_hdf5(path: Path, pooled: np.ndarray) -> None:
    """Features as the authors' `create_cached_dataset.py` lays them out: ``embed`` grows batch by batch."""
    rows = pooled.reshape(-1, pooled.shape[-1])
    with h5py.File(path, "w") as file:
        shape = (0, rows.shape[1])
        embed = file.create_dataset("embed", shape, maxshape=(None, rows.shape[1]), dtype="f4")
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            embed.resize(start + len(batch), axis=0)
            embed[start:] = batch


def hdf5_loader(path: Path, losses: np.ndarray) -> DataLoader:
    return DataLoader(Hdf5Rows(path, losses), batch_size=BATCH, shuffle=True, drop_last=True)


def memory_loader(path: Path, losses: np.ndarray) -> DataLoader:
    """The whole file in memory first, then row by row."""
    with h5py.File(path, "r") as file:
        rows = TensorDataset(torch.from_numpy(file["embed"][:]), torch.from_numpy(losses.reshape(-1)))
    return DataLoader(rows, batch_size=BATCH, shuffle=True, drop_last=True)


def read_loader(loader: DataLoader) -> Contender:
    return lambda: sum(len(inputs) for inputs, _ in loader)


def train_from_loader(loader: DataLoader) -> Contender:
    return lambda: _train_head(loader)


class _PooledAndLogits(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    @property
    def width(self) -> int:
        return self.backbone.head_hidden_size

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.backbone.forward_head(self.backbone.forward_features(pixels), pre_logits=True)
        return pooled, classify(self.backbone, pooled)


def _paper_head(width: int) -> UncertaintyHead:
    return UncertaintyHead(width, width=512, depth=2)


def _train_head(batches: Iterable[tuple[Tensor, Tensor]]) -> int:
    """The steps of `fit_head` on whatever yields (inputs, losses)."""
    head: UncertaintyHead | None = None
    samples = 0
    for inputs, losses in batches:
        if head is None:
            head = _paper_head(inputs.shape[1])
            optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, betas=(0.8, 0.95), fused=True)
        optimiser.zero_grad(set_to_none=True)
        order_loss(head(inputs), losses).backward()
        optimiser.step()
        samples += len(inputs)
    return samples
