"""Put a frozen backbone and heads together into one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backbones import load_weights
from .configuration_image_uncertainty import ImageUncertaintyConfig
from .errors import BackboneError
from .modeling_image_uncertainty import ImageUncertaintyModel

if TYPE_CHECKING:
    from torch import Tensor


def new_model(config: ImageUncertaintyConfig, weights: str) -> ImageUncertaintyModel:
    """A model with the backbone's weights loaded and untrained heads, in eval mode, backbone frozen.

    Args:
        weights: as in `hub_models.backbones.load_weights`.

    Raises:
        BackboneError: the weights do not fit the configured backbone.
    """
    state = load_weights(config.backbone, weights)
    if not config.num_classes:
        state = _without_classifier(state, config.backbone)
    model = ImageUncertaintyModel(config)
    try:
        model.backbone.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise BackboneError(f"{weights}: does not fit backbone {config.backbone!r}: {error}") from error
    model.backbone.requires_grad_(False)
    return model.eval()


def _without_classifier(state: dict[str, Tensor], backbone: str) -> dict[str, Tensor]:
    import timm

    names = timm.get_pretrained_cfg(backbone).classifier or ()
    prefixes = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}
