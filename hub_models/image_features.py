"""What uncertainty heads see of a frozen timm backbone: pre-logits, stage statistics, class statistics.

Published code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .errors import BackboneError

TOP_CLASSES = 20
MAX_STAGES = 6


class ImageFeatures(NamedTuple):
    """Of a batch: ``pooled`` (B, D), ``stages`` (B, S), ``logits`` (B, C) or None without a classifier."""

    pooled: Tensor
    stages: Tensor
    logits: Tensor | None


def choose_stages(backbone: nn.Module, stage_indices: list[int] | None) -> list[int]:
    """The given stages, or at most ``MAX_STAGES`` of the backbone's, evenly spaced and with the last.

    Raises:
        BackboneError: the backbone gives no intermediate maps, or has no such stage.
    """
    if not hasattr(backbone, "forward_intermediates"):
        kind = type(backbone).__name__
        raise BackboneError(f"{kind} gives no intermediate feature maps; choose another backbone")
    count = len(backbone.feature_info)  # type: ignore[arg-type]
    if stage_indices is not None:
        if not stage_indices or not all(0 <= stage < count for stage in stage_indices):
            raise BackboneError(f"stage_indices is {stage_indices}; there are stages 0 to {count - 1}")
        return stage_indices
    if count <= MAX_STAGES:
        return list(range(count))
    return [round((i + 1) * count / MAX_STAGES) - 1 for i in range(MAX_STAGES)]


def stage_width(backbone: nn.Module, stages: list[int]) -> int:
    """S: two statistics for each channel of the chosen stages."""
    return sum(2 * backbone.feature_info[i]["num_chs"] for i in stages)  # type: ignore[index,misc]


def extract_features(
    backbone: nn.Module, pixel_values: Tensor, stages: list[int], num_classes: int
) -> ImageFeatures:
    """One forward pass.

    ``pooled`` is what timm's classifier sees (``forward_head(pre_logits=True)``). ``stages`` holds, for each
    channel of each chosen intermediate map, the mean over positions (first half) and the standard deviation
    (second half): low-level statistics that the last layer, made to be invariant, has thrown away, but which
    tell a sharp photo from a blurred crop.

    Args:
        pixel_values: (B, 3, H, W), normalised by the image processor.
    """
    final, maps = backbone.forward_intermediates(pixel_values, indices=stages)  # type: ignore[operator]
    pooled = backbone.forward_head(final, pre_logits=True)  # type: ignore[operator]
    statistics = [m.mean((2, 3)) for m in maps] + [m.flatten(2).std(2, correction=0) for m in maps]
    # Not by `classify`: distilled and some other backbones have more than one classifier.
    logits = backbone.forward_head(final) if num_classes else None  # type: ignore[operator]
    return ImageFeatures(pooled, torch.cat(statistics, dim=1), logits)


def classify(backbone: nn.Module, pooled: Tensor) -> Tensor:
    """Logits (B, C) from stored pre-logits (B, D), for backbones with one plain classifier."""
    classifier = backbone.get_classifier()  # type: ignore[operator]
    if isinstance(classifier, nn.Conv2d):  # 1 x 1, as in DLA, DPN and pre-activation ResNets
        return classifier(pooled[..., None, None]).flatten(1)
    logits: Tensor = classifier(pooled)
    return logits


def class_statistics_width(num_classes: int) -> int:
    """Number of columns of `class_statistics`."""
    return 2 * min(TOP_CLASSES, num_classes) + 3


def class_statistics(logits: Tensor) -> Tensor:
    """Statistics of the logits that do not tell which class was predicted.

    A head on raw logits or features learns which classes its training set found hard (the class prior of
    that set); sorting makes that impossible while keeping all that entropy, margin or energy can use.

    Args:
        logits: (B, C).

    Returns:
        (B, 2 min(20, C) + 3): the largest log-probabilities and centred logits in falling order, the entropy
        in nats, the log-sum-exp of the centred logits (free energy), and the logits' standard deviation.
    """
    top = min(TOP_CLASSES, logits.shape[1])
    log_probabilities = logits.log_softmax(dim=1)
    centred = logits - logits.mean(dim=1, keepdim=True)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=1, keepdim=True)
    return torch.cat(
        [
            log_probabilities.topk(top, dim=1).values,
            centred.topk(top, dim=1).values,
            entropy,
            centred.logsumexp(dim=1, keepdim=True),
            centred.std(dim=1, keepdim=True),
        ],
        dim=1,
    )


def select_inputs(features: ImageFeatures, names: list[str]) -> Tensor:
    """Concatenate the named inputs, (B, sum of widths), detached: no head sends gradients to the backbone.

    That is the paper's cure for the gradient conflict (PVU, section 3): trained jointly without it, the loss
    predictor and the classifier pull the backbone apart and both get worse.
    """
    parts = []
    for name in names:
        if name == "class_statistics":
            if features.logits is None:
                raise BackboneError("the input class_statistics needs a backbone with a classifier")
            parts.append(class_statistics(features.logits))
        elif name == "stage_spread":
            parts.append(features.stages[:, features.stages.shape[1] // 2 :])
        else:
            parts.append(features.pooled if name == "pooled" else features.stages)
    return torch.cat(parts, dim=1).detach()
