"""Golden tensors: a small input and a model's output for it, to compare with after every way of loading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel


def golden_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """Inputs by their argument's name, and every tensor of the output, ``field`` or ``field.key``.

    Args:
        model: of one of our families; its `model_type` says which input it gets.
    """
    import torch

    inputs = INPUTS[model.config.model_type](model.config)
    with torch.no_grad():
        output = model(**inputs)
    return inputs | flattened(output)


def flattened(output: Mapping[str, Any]) -> dict[str, Tensor]:
    """Every tensor of a model's output, those in a dictionary as ``field.key``; fields that are None left out."""
    tensors: dict[str, Tensor] = {}
    for field, value in output.items():
        if isinstance(value, Mapping):
            tensors |= {f"{field}.{key}": item for key, item in value.items()}
        elif value is not None:
            tensors[field] = value
    return tensors


def smooth_noise(config: PretrainedConfig) -> dict[str, Tensor]:
    """Two images of smooth noise, ``pixel_values`` (2, 3, H, W)."""
    import torch

    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    size = (config.image_size, config.image_size)
    return {"pixel_values": torch.nn.functional.interpolate(noise, size=size, mode="bicubic")}


def last_failure_observed(config: PretrainedConfig) -> dict[str, Tensor]:
    """Two rows of ``evidence`` (2, n): the last failure is present, or present while the first is absent."""
    import torch

    evidence = torch.full((2, len(config.names)), -1)
    evidence[:, -1] = 1
    evidence[1, 0] = 0
    return {"evidence": evidence}


def some_features(config: PretrainedConfig) -> dict[str, Tensor]:
    """Three rows of ``features`` (3, d), uniform in the unit cube."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return {"features": torch.rand(3, config.input_dim, generator=generator)}


#: model_type -> the golden input of a model with this configuration.
INPUTS: dict[str, Callable[[PretrainedConfig], dict[str, Tensor]]] = {
    "failure_network": last_failure_observed,
    "image_uncertainty": smooth_noise,
    "probabilistic_embedding": smooth_noise,
    "vmf_encoder": some_features,
}
