"""Put a frozen backbone and heads together into one model."""

from __future__ import annotations

from .backbones import load_weights
from .configuration_image_uncertainty import ImageUncertaintyConfig
from .errors import BackboneError
from .modeling_image_uncertainty import ImageUncertaintyModel


def new_model(config: ImageUncertaintyConfig, weights: str) -> ImageUncertaintyModel:
    """A model with the backbone's weights loaded and untrained heads, in eval mode, backbone frozen.

    Args:
        weights: as in `hub_models.backbones.load_weights`.

    Raises:
        BackboneError: the weights do not fit the configured backbone.
    """
    state = load_weights(config.backbone, weights)
    model = ImageUncertaintyModel(config)
    try:
        model.backbone.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise BackboneError(f"{weights}: does not fit backbone {config.backbone!r}: {error}") from error
    model.backbone.requires_grad_(False)
    return model.eval()
