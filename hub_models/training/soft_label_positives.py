"""Positives of images that people disagree about: two images belong together if their labels, drawn anew, agree.

As in the CIFAR-10H experiment of MCInfoNCE (Kirchhof et al., ICML 2023): a label of the anchor is drawn from the
votes that people gave it, then a partner among the images, in proportion to their votes for that label. An image
that most people call a cat and some a dog is so drawn towards both, and its posterior has to be wide.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import RecipeError
from ..von_mises_fisher import sample
from .contrastive_losses import Variant, mc_infonce, rolled
from .fit_embedding import Batches


def partner_batches(shares: np.ndarray, images: np.ndarray, batch_size: int) -> Batches:
    """Batches of pairs: (2 B,) image numbers, the anchors before their partners; no targets.

    Every image is an anchor once an epoch, but for the rest that fills no batch.

    Args:
        shares: (N, C) shares of the votes, each row summing to 1.
        images: (N,) what the images are called in the cache.
        batch_size: B, pairs of a batch.

    Raises:
        RecipeError: shares that are negative, NaN or do not sum to 1; fewer images than a batch; a class that only
            one image has votes for, which can have no partner.
    """
    if not (np.isfinite(shares).all() and (shares >= 0).all() and np.allclose(shares.sum(axis=1), 1)):
        raise RecipeError("soft labels must be shares of at least 0 that sum to 1 for every image")
    if len(shares) < batch_size:
        raise RecipeError(f"{len(shares)} images fill no batch of {batch_size} pairs; lower batch_size")
    lonely = np.flatnonzero((shares > 0).sum(axis=0) == 1)
    if len(lonely):
        raise RecipeError(
            f"class {lonely[0]} has votes on one image only, which can have no partner; leave it out"
        )

    def epoch(generator: np.random.Generator) -> Iterator[tuple[np.ndarray, None]]:
        order = generator.permutation(len(shares))
        partners = draw_partners(shares, generator)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            anchors = order[start : start + batch_size]
            yield images[np.concatenate([anchors, partners[anchors]])], None

    return epoch


def draw_partners(shares: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A partner for each of N images, never the image itself: (N,) numbers of images.

    Args:
        shares: (N, C), each row summing to 1; every class with votes has them on two images or more.
    """
    count = len(shares)
    labels = (shares.cumsum(axis=1) <= generator.random((count, 1))).sum(axis=1).clip(max=shares.shape[1] - 1)
    partners = np.empty(count, dtype=np.int64)
    for label in np.unique(labels):
        anchors = np.flatnonzero(labels == label)
        weights = shares[:, label]
        upto = weights.cumsum()
        own = weights[anchors]
        point = generator.random(len(anchors)) * (upto[-1] - own)
        point += np.where(point >= upto[anchors] - own, own, 0)  # step over the anchor's own votes
        chosen = np.searchsorted(upto, point, side="right").clip(max=count - 1)
        partners[anchors] = chosen
    return partners


class InBatchMCInfoNCE(nn.Module):
    """MCInfoNCE on a batch of pairs; an anchor's negatives are the partners of the anchors that follow it.

    Args:
        positive_concentration: kappa of the distribution of partners around a latent.
        samples: draws of each posterior.
        negatives: of each anchor, below the number of pairs in a batch.
        variant: see `mc_infonce`.
    """

    def __init__(
        self, positive_concentration: float, samples: int, negatives: int, variant: Variant = "paper"
    ) -> None:
        super().__init__()
        self.positive_concentration = positive_concentration
        self.samples, self.negatives, self.variant = samples, negatives, variant

    def forward(self, mean_direction: Tensor, concentration: Tensor, targets: None = None) -> Tensor:
        """A scalar from (2 B, D) and (2 B,), the anchors before their partners."""
        pairs = len(mean_direction) // 2
        draws = sample(mean_direction, concentration, self.samples)
        scaled = self.positive_concentration * draws[:, :pairs] @ draws[:, pairs:].mT
        numbers = rolled(torch.arange(pairs, device=scaled.device), self.negatives, dim=0)
        negative = scaled.gather(2, numbers.expand(self.samples, -1, -1))
        return mc_infonce(scaled.diagonal(dim1=1, dim2=2), negative, self.variant)
