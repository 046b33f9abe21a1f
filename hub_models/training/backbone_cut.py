"""Cut a timm backbone in two: a frozen trunk, whose output can be cached, and the stages that are trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import BackboneError

_PARTS = ("conv_stem", "bn1", "blocks", "conv_head", "bn2")


@dataclass(frozen=True)
class BackboneCut:
    """A backbone in two parts, whose modules stay the backbone's own.

    Attributes:
        trunk: pixels (B, 3, H, W) -> map (B, C, h, w).
        rest: map -> pooled features (B, F), what a classifier would see.
        trained: names of the modules in ``rest``, as `ProbabilisticEmbeddingConfig.trained_backbone` has them.
    """

    trunk: nn.Module
    rest: nn.Module
    trained: list[str]


def cut_backbone(backbone: nn.Module, trained_stages: int) -> BackboneCut:
    """Cut before the last ``trained_stages`` stages; with 0, before the head convolution.

    Raises:
        BackboneError: not built like an EfficientNet, or it has no so many stages.
    """
    if not all(hasattr(backbone, part) for part in _PARTS):
        kind = type(backbone).__name__
        raise BackboneError(
            f"{kind} has no stages that can be trained apart; choose an EfficientNet, EfficientNet-Lite or "
            "MobileNet V2"
        )
    stages = list(backbone.blocks)  # type: ignore[arg-type]
    first = len(stages) - trained_stages
    if not 0 < first <= len(stages):
        raise BackboneError(f"trained_stages is {trained_stages}; it must be from 0 to {len(stages) - 1}")
    trunk = nn.Sequential(backbone.conv_stem, backbone.bn1, *stages[:first])  # type: ignore[arg-type]
    trained = [f"blocks.{number}" for number in range(first, len(stages))] + ["conv_head", "bn2"]
    return BackboneCut(trunk, _Rest(backbone, stages[first:]), trained)


class _Rest(nn.Module):
    def __init__(self, backbone: nn.Module, stages: list[nn.Module]) -> None:
        super().__init__()
        self.features = nn.Sequential(*stages, backbone.conv_head, backbone.bn2)  # type: ignore[arg-type]
        self._head = backbone.forward_head

    def forward(self, maps: Tensor) -> Tensor:
        pooled: Tensor = self._head(self.features(maps), pre_logits=True)  # type: ignore[operator]
        return pooled
