"""An encoder that answers with a distribution: a von Mises-Fisher posterior for every row of features."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_vmf_encoder import VmfEncoderConfig


@dataclass
class VmfEncoderOutput(ModelOutput):
    """Output of `VmfEncoderModel`; B rows, D dimensions.

    Attributes:
        mean_direction: (B, D) unit vectors, the posteriors' mean directions.
        concentration: (B,) above 0, float32 or wider: kappa of the posteriors.
        uncertainty: (B,) 1 / kappa; higher means less certain.
        pooler_output: ``mean_direction`` under the name that transformers gives an embedding.
    """

    mean_direction: Tensor | None = None
    concentration: Tensor | None = None
    uncertainty: Tensor | None = None
    pooler_output: Tensor | None = None


class VmfEncoderModel(PreTrainedModel):
    """Two independent networks: one for the mean direction, one for the concentration.

    The encoder of MCInfoNCE's controlled experiment (Kirchhof, Kasneci, Oh: Probabilistic Contrastive Learning
    Recovers the Correct Aleatoric Uncertainty of Ambiguous Inputs, ICML 2023).
    """

    config_class = VmfEncoderConfig
    base_model_prefix = "vmf_encoder"
    main_input_name = "features"

    def __init__(self, config: VmfEncoderConfig) -> None:
        super().__init__(config)
        widths = config.widths or []
        self.direction = perceptron([config.input_dim, *widths, config.embedding_dim])
        self.log_concentration = perceptron([config.input_dim, *widths, 1])
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own start of a linear layer."""
        if isinstance(module, nn.Linear):
            module.reset_parameters()

    def forward(self, features: Tensor, **kwargs: object) -> VmfEncoderOutput:
        """Posteriors of a batch.

        Args:
            features: (B, input_dim).
        """
        mean = functional.normalize(self.direction(features), dim=-1)
        height = functional.softplus(_at_least_single(self.log_concentration(features).squeeze(-1)))
        log_kappa = self.config.log_concentration_scale * height + self.config.log_concentration_shift
        return VmfEncoderOutput(
            mean_direction=mean,
            concentration=log_kappa.exp(),
            uncertainty=(-log_kappa).exp(),
            pooler_output=mean.clone(),  # no shared memory: safetensors would refuse to save the pair
        )

    @torch.no_grad()
    def set_concentration_range(self, features: Tensor, lowest: float, highest: float) -> None:
        """Choose the affine map of the configuration so that these features get concentrations in this range.

        Args:
            features: (N, input_dim), rows that the network does not all answer alike.
            lowest, highest: 0 < lowest < highest.
        """
        height = functional.softplus(_at_least_single(self.log_concentration(features)))
        low, high = height.min().item(), height.max().item()
        scale = math.log(highest / lowest) / (high - low)
        self.config.log_concentration_scale = scale
        self.config.log_concentration_shift = math.log(highest) - scale * high


def perceptron(widths: list[int]) -> nn.Sequential:
    """Linear layers between these widths, LeakyReLU between the layers."""
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        layers += [nn.LeakyReLU()] if number else []
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


def _at_least_single(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


VmfEncoderModel.register_for_auto_class("AutoModel")
