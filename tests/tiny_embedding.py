"""A probabilistic embedding with random weights, in source form."""

from __future__ import annotations

from pathlib import Path

import torch

RECIPE = """\
name = "tiny-embedding"
task = "probabilistic-embedding"
summary = "A tiny model with random weights."
licence = "research-only"
backbone = "test_efficientnet"
weights = "{weights}"
"""


def tiny_embedding_checkpoint(root: Path, dim: int = 8, concentration: float = 20.0) -> Path:
    """A checkpoint below ``root`` whose concentrations scatter around ``concentration``."""
    import timm
    from safetensors.torch import save_file

    from hub_models.backbones import fill_backbone
    from hub_models.checkpoint_folder import save_checkpoint
    from hub_models.configuration_probabilistic_embedding import ProbabilisticEmbeddingConfig
    from hub_models.modeling_probabilistic_embedding import ProbabilisticEmbeddingModel

    torch.manual_seed(0)
    weights = root / "backbone.safetensors"
    save_file(timm.create_model("test_efficientnet", pretrained=False).state_dict(), weights)
    config = ProbabilisticEmbeddingConfig(
        backbone="test_efficientnet",
        dim=dim,
        concentration_from="head",
        concentration_scale=concentration,
        head_width=8,
        image_size=32,
    )
    model = ProbabilisticEmbeddingModel(config)
    fill_backbone(model.backbone, config.backbone, str(weights))
    recipe = root / "recipe.toml"
    recipe.write_text(RECIPE.format(weights=weights), encoding="utf-8")
    save_checkpoint(model.eval(), root / "tiny-embedding", recipe)
    return root / "tiny-embedding"
