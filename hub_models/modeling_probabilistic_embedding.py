"""Images as von Mises-Fisher distributions on the sphere: a direction and how sure of it. Published code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import ModelOutput

# Older loaders of transformers copy only what this file names, so it names every sibling that is needed.
from .bessel_ratio import bessel_ratio  # noqa: F401
from .configuration_probabilistic_embedding import ProbabilisticEmbeddingConfig
from .errors import DistributionError
from .non_isotropic_vmf import pairwise_log_density
from .timm_backbone import is_initialised, new_backbone
from .vmf_flow import flow_factor  # noqa: F401
from .vmf_sampling import draw  # noqa: F401
from .von_mises_fisher import check_dim  # noqa: F401

#: Concentrations stay above this, so that the uncertainty, their inverse, is finite.
LEAST_CONCENTRATION = 1e-6
#: The head's output, a logarithm, is kept within this of 0.
LARGEST_LOG = 20.0


@dataclass
class ProbabilisticEmbeddingOutput(ModelOutput):
    """Output of `ProbabilisticEmbeddingModel`. Directions and concentrations are float32 or float64.

    Attributes:
        mean_direction: (B, D) unit vectors; their dot product is the cosine similarity.
        concentration: (B,) kappa, above 0; higher = more certain.
        uncertainty: (B,) 1 / kappa.
        pooler_output: (B, F) the backbone's pooled features.
    """

    # Always there; None only because ModelOutput wants a default.
    mean_direction: Tensor = None  # type: ignore[assignment]
    concentration: Tensor = None  # type: ignore[assignment]
    uncertainty: Tensor = None  # type: ignore[assignment]
    pooler_output: Tensor = None  # type: ignore[assignment]


class ProbabilisticEmbeddingModel(PreTrainedModel):
    """A timm backbone whose embedding of an image is vMF(mean_direction, concentration).

    With ``concentration_from="norm"`` the embedding's length is the concentration (Kirchhof et al., ECCV 2022),
    with ``"head"`` a network beside it gives it (MCInfoNCE, Kirchhof et al., ICML 2023). The classes it was
    trained on may be kept as proxies: non-isotropic vMF distributions with a concentration a coordinate.
    """

    config_class = ProbabilisticEmbeddingConfig
    base_model_prefix = "probabilistic_embedding"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules: ClassVar[list[str]] = []

    def __init__(self, config: ProbabilisticEmbeddingConfig) -> None:
        super().__init__(config)
        self.backbone = new_backbone(config.backbone, 0, config.backbone_kwargs)
        width = getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features
        self.embedding = nn.Linear(width, config.dim)
        self.concentration_head = _concentration_head(width, config)
        if config.class_names:
            classes = len(config.class_names)
            self.register_buffer("proxy_directions", torch.ones(classes, config.dim))
            scales = config.dim if config.non_isotropic else 1
            self.register_buffer("proxy_concentrations", torch.ones(classes, scales))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if is_initialised(module):
            return
        super()._init_weights(module)

    def forward(self, pixel_values: Tensor, **kwargs: object) -> ProbabilisticEmbeddingOutput:
        """Embed a batch.

        Args:
            pixel_values: (B, 3, H, W), normalised by the image processor that is saved beside the model.
        """
        features = self.backbone.forward_features(pixel_values)
        return self.read_out(self.backbone.forward_head(features, pre_logits=True))

    def read_out(self, pooled: Tensor) -> ProbabilisticEmbeddingOutput:
        """From pooled features (B, F) of the backbone, fresh or cached, to distributions."""
        embedding = _at_least_float32(self.embedding(pooled))
        scale = self.config.concentration_scale
        if self.concentration_head is None:
            kappa = scale * torch.linalg.vector_norm(embedding, dim=-1)
        else:
            logarithm = _at_least_float32(self.concentration_head(pooled)).squeeze(-1)
            kappa = scale * logarithm.clamp(-LARGEST_LOG, LARGEST_LOG).exp()
        kappa = kappa.clamp_min(LEAST_CONCENTRATION)
        return ProbabilisticEmbeddingOutput(
            mean_direction=functional.normalize(embedding, dim=-1),
            concentration=kappa,
            uncertainty=kappa.reciprocal(),
            pooler_output=pooled,
        )

    @torch.no_grad()
    def keep_proxies(self, names: list[str], directions: Tensor, concentrations: Tensor) -> None:
        """Keep the distributions of the classes that the model was trained on.

        Args:
            names: of C classes.
            directions: unit vectors (C, D).
            concentrations: above 0; (C, D), one a coordinate, or (C, 1).

        Raises:
            DistributionError: shapes that do not fit each other or the model.
        """
        shape = (len(names), self.config.dim)
        if directions.shape != shape or concentrations.shape not in (shape, (len(names), 1)):
            raise DistributionError(
                f"proxies of {len(names)} classes in {self.config.dim} dimensions cannot have directions "
                f"{tuple(directions.shape)} and concentrations {tuple(concentrations.shape)}"
            )
        self.config.class_names = list(names)
        self.config.non_isotropic = concentrations.shape[1] > 1
        self.register_buffer("proxy_directions", directions.clone())
        self.register_buffer("proxy_concentrations", concentrations.clone())

    def class_log_density(self, directions: Tensor) -> Tensor:
        """log-density (..., C) of unit vectors (..., D) under the proxy of each of ``config.class_names``.

        Raises:
            DistributionError: the model keeps no proxies.
        """
        if not self.config.class_names:
            raise DistributionError("this model keeps no class proxies: config.class_names is empty")
        scale = self.proxy_concentrations.expand_as(self.proxy_directions)
        return pairwise_log_density(directions, self.proxy_directions, scale)


def _concentration_head(width: int, config: ProbabilisticEmbeddingConfig) -> nn.Sequential | None:
    if config.concentration_from == "norm":
        return None
    return nn.Sequential(nn.Linear(width, config.head_width), nn.LeakyReLU(), nn.Linear(config.head_width, 1))


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


ProbabilisticEmbeddingModel.register_for_auto_class("AutoModel")
