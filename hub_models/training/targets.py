"""What heads are trained to predict, computed once for every cached view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import RecipeError
from ..image_features import classify
from ..modeling_image_uncertainty import ImageUncertaintyModel
from .feature_cache import FeatureCache

CHUNK = 4096
#: Cosine scale and number of candidates of the instance target.
INSTANCE_SCALE = 30.0
MAX_CANDIDATES = 4096


def make_targets(
    names: set[str],
    model: ImageUncertaintyModel,
    cache: FeatureCache,
    images: np.ndarray,
    labels: Sequence[int] | None,
    seed: int,
) -> dict[str, np.ndarray]:
    """Each named target, (len(images), V).

    ``cross_entropy``: the task loss in nats. ``mistake``: 1 where the classifier is wrong, else 0.
    ``instance``: see `instance_loss`.

    Args:
        images: (n,) indices of the images to use.
        labels: class number of every cached image, as `require_labels` passes them; None if no target but
            ``instance`` is named.
        seed: of the choice of candidates of ``instance``.
    """
    targets = {"instance": instance_loss(cache, images, seed)} if "instance" in names else {}
    if names - {"instance"}:
        truth = torch.from_numpy(np.asarray(labels, dtype=np.int64)[images])
        losses, mistakes = _task_losses(model, cache, images, truth)
        targets |= {"cross_entropy": losses, "mistake": mistakes}
    return {name: targets[name] for name in names}


def require_labels(labels: Sequence[int] | None, num_classes: int) -> Sequence[int]:
    """The labels, if the classifier can be judged by them.

    Raises:
        RecipeError: there are none, or one is not among the classifier's classes.
    """
    if labels is None:
        raise RecipeError(
            "a target needs labels, but the images have none; label them or use target instance"
        )
    if min(labels) < 0 or max(labels) >= num_classes:
        raise RecipeError(
            f"labels run from {min(labels)} to {max(labels)}, but the classifier has {num_classes} classes; "
            "use the classifier's class numbers, or target instance, which needs no labels"
        )
    return labels


@torch.inference_mode()
def _task_losses(
    model: ImageUncertaintyModel, cache: FeatureCache, images: np.ndarray, truth: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    views = cache.pooled.shape[1]
    losses = np.empty((len(images), views), dtype=np.float32)
    mistakes = np.empty((len(images), views), dtype=np.float32)
    for start in range(0, len(images), CHUNK):
        rows = slice(start, start + CHUNK)
        for view in range(views):
            logits = classify(model.backbone, torch.from_numpy(cache.pooled[images[rows], view]))
            losses[rows, view] = nn.functional.cross_entropy(logits, truth[rows], reduction="none").numpy()
            mistakes[rows, view] = (logits.argmax(dim=1) != truth[rows]).numpy()
    return losses, mistakes


@torch.inference_mode()
def instance_loss(cache: FeatureCache, images: np.ndarray, seed: int) -> np.ndarray:
    """How hard a view's source image is to find again, (len(images), V), in nats; needs no labels.

    Cross-entropy of picking the source by cosine similarity (times 30) among the whole views of the source
    and of up to 4,096 other images. It is what retrieval asks of an embedding, and high where a crop shows
    nothing that tells its image from others.
    """
    chosen = np.random.default_rng(seed).permutation(len(images))[:MAX_CANDIDATES]
    candidates = _unit(cache.pooled[images[chosen], 0])
    position = np.full(len(images), -1)
    position[chosen] = np.arange(len(chosen))
    losses = np.empty((len(images), cache.pooled.shape[1]), dtype=np.float32)
    for start in range(0, len(images), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(images)))
        own = torch.from_numpy(position[rows])
        inside = own >= 0
        whole = _unit(cache.pooled[images[rows], 0])
        for view in range(cache.pooled.shape[1]):
            embedding = _unit(cache.pooled[images[rows], view])
            similarity = INSTANCE_SCALE * embedding @ candidates.T
            source = INSTANCE_SCALE * (embedding * whole).sum(dim=1)
            similarity[inside, own[inside]] = -torch.inf  # the source counts once, as the last column
            every = torch.cat([similarity, source[:, None]], dim=1)
            losses[rows, view] = (every.logsumexp(dim=1) - source).numpy()
    return losses


def combine(targets: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """One target as it is; several as the weighted mean of their ranks over all views, scaled to [0, 1]."""
    if len(weights) == 1:
        return targets[next(iter(weights))]
    total = sum(weights.values())
    ranks = [(weight / total) * _ranks(targets[name]) for name, weight in weights.items()]
    return np.sum(ranks, axis=0)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks scaled to [0, 1]; equal values share the mean of their ranks."""
    _, group, sizes = np.unique(values.reshape(-1), return_inverse=True, return_counts=True)
    middles = sizes.cumsum() - (sizes + 1) / 2
    return (middles / max(1, values.size - 1)).astype(np.float32)[group].reshape(values.shape)


def _unit(pooled: np.ndarray) -> Tensor:
    return nn.functional.normalize(torch.from_numpy(np.array(pooled)), dim=1)
