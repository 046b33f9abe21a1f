"""Put a frozen backbone and heads together into one model."""

from __future__ import annotations

from .backbones import fill_backbone
from .configuration_image_uncertainty import ImageUncertaintyConfig
from .modeling_image_uncertainty import ImageUncertaintyModel


def new_model(config: ImageUncertaintyConfig, weights: str) -> ImageUncertaintyModel:
    """A model with the backbone's weights loaded and untrained heads, in eval mode, backbone frozen.

    Args:
        weights: as in `hub_models.backbones.load_weights`.

    Raises:
        BackboneError: the weights do not fit the configured backbone.
    """
    model = ImageUncertaintyModel(config)
    fill_backbone(model.backbone, config.backbone, weights)
    return model.eval()
