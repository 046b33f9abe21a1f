"""A frozen timm backbone with an optional classifier and named uncertainty read-outs. Published code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ModelOutput

from .configuration_image_uncertainty import ImageUncertaintyConfig
from .errors import BackboneError, ImageSourceError
from .image_features import (
    ImageFeatures,
    choose_stages,
    class_statistics_width,
    classify,
    extract_features,
    select_inputs,
    stage_width,
)
from .reference_distribution import ReferenceDistribution
from .timm_backbone import is_initialised, new_backbone
from .uncertainty_head import UncertaintyHead


@dataclass
class ImageUncertaintyOutput(ModelOutput):
    """Output of `ImageUncertaintyModel`.

    Attributes:
        pooler_output: (B, D) the backbone's pre-logits.
        logits: (B, C), or None without a classifier.
        uncertainty: (B,) the default read-out, higher = less certain.
        uncertainty_percentile: (B,) in [0, 1], share of the stored reference images that are more certain;
            NaN where no reference is stored.
        uncertainties: every named read-out, (B,) each.
        reference_distance: (B,) above 1 = the features lie farther from the reference than 99 % of its
            images, so the percentile should not be trusted; NaN where no reference is stored.
    """

    pooler_output: Tensor | None = None
    logits: Tensor | None = None
    uncertainty: Tensor | None = None
    uncertainty_percentile: Tensor | None = None
    uncertainties: dict[str, Tensor] | None = None
    reference_distance: Tensor | None = None


class ImageUncertaintyModel(PreTrainedModel):
    """Pretrained visual uncertainties: loss-prediction heads on a frozen backbone (Kirchhof et al., 2024)."""

    config_class = ImageUncertaintyConfig
    base_model_prefix = "image_uncertainty"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules: ClassVar[list[str]] = []

    def __init__(self, config: ImageUncertaintyConfig) -> None:
        super().__init__(config)
        self.backbone = new_backbone(config.backbone, config.num_classes, config.backbone_kwargs)
        self.stages = choose_stages(self.backbone, config.stage_indices)
        stages_width = stage_width(self.backbone, self.stages)
        widths = {
            "pooled": getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features,
            "stages": stages_width,
            "stage_spread": stages_width // 2,
            "class_statistics": class_statistics_width(config.num_classes),
        }
        # In alphabetical order, whatever order they were written in: saved configurations are sorted, and the
        # rows of the reference must mean the same read-outs after loading.
        read_outs = dict(sorted((config.read_outs or {}).items()))
        self.heads = nn.ModuleDict(
            {
                name: UncertaintyHead(
                    sum(widths[part] for part in spec["inputs"]),
                    **{key: value for key, value in spec.items() if key != "inputs"},
                )
                for name, spec in read_outs.items()
            }
        )
        self.reference = ReferenceDistribution(list(read_outs), stages_width)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if is_initialised(module):
            return
        if isinstance(module, UncertaintyHead | ReferenceDistribution):
            module.init_buffers()
        super()._init_weights(module)

    def forward(self, pixel_values: Tensor, **kwargs: object) -> ImageUncertaintyOutput:
        """Score a batch.

        Args:
            pixel_values: (B, 3, H, W), normalised by the image processor that is saved beside the model.
        """
        return self.read_out(self.extract(pixel_values))

    def extract(self, pixel_values: Tensor) -> ImageFeatures:
        """The frozen part: features of a batch, to be cached or read out."""
        return extract_features(self.backbone, pixel_values, self.stages, self.config.num_classes)

    def classify(self, pooled: Tensor) -> Tensor | None:
        """Logits (B, C) of cached pre-logits (B, D), None without a classifier."""
        return classify(self.backbone, pooled) if self.config.num_classes else None

    def read_out(self, features: ImageFeatures) -> ImageUncertaintyOutput:
        """The trained part: from features, fresh or cached, to uncertainties."""
        uncertainties = self.uncertainties(features)
        default = self.combine(uncertainties)
        return ImageUncertaintyOutput(
            pooler_output=features.pooled,
            logits=features.logits,
            uncertainty=default,
            uncertainty_percentile=None if default is None else self.reference.percentile(default),
            uncertainties=uncertainties,
            reference_distance=self.reference.distance(features.stages),
        )

    def uncertainties(self, features: ImageFeatures) -> dict[str, Tensor]:
        """Every named read-out of a batch of features, (B,) each."""
        read_outs = self.config.read_outs or {}
        return {
            name: head(select_inputs(features, read_outs[name]["inputs"]))
            for name, head in self.heads.items()
        }

    def combine(self, uncertainties: dict[str, Tensor]) -> Tensor | None:
        """The default uncertainty (B,): weighted sum of the standardised read-outs; None without any."""
        weights = self.config.default_weights or {name: 1.0 / len(uncertainties) for name in uncertainties}
        parts = [w * self.reference.standardise(uncertainties[name], name) for name, w in weights.items()]
        return torch.stack(parts).sum(dim=0) if parts else None

    @torch.no_grad()
    def set_reference(self, features: ImageFeatures, name: str) -> None:
        """Replace the distribution that percentiles refer to. Raw uncertainties stay what they were.

        Args:
            features: of N reference images, eval transform, as `extract` gives them.
            name: what these images are; stored in the configuration and shown with percentiles.

        Raises:
            ImageSourceError: fewer than two images.
            BackboneError: features that are not finite.
        """
        if len(features.stages) < 2:
            raise ImageSourceError(f"reference {name!r}: needs at least two images; add some")
        if not (torch.isfinite(features.stages).all() and torch.isfinite(features.pooled).all()):
            raise BackboneError(f"reference {name!r}: the features hold NaN or infinity; check the weights")
        uncertainties = self.uncertainties(features)
        default = self.combine(uncertainties)
        if default is not None:
            self.reference.fit_quantiles(uncertainties, default)
        self.reference.fit_features(features.stages)
        self.config.reference_size = len(features.stages)
        self.config.reference_name = name


ImageUncertaintyModel.register_for_auto_class("AutoModel")
