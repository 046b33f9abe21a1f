from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from hub_models.assembly import new_model
from hub_models.configuration_image_uncertainty import ImageUncertaintyConfig
from hub_models.errors import BackboneError


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet10t.safetensors"
    save_file(timm.create_model("resnet10t", num_classes=7).state_dict(), path)
    return str(path)


@pytest.mark.parametrize("num_classes", [7, 0])
@torch.no_grad()
def test_the_weights_are_loaded_with_and_without_the_classifier(weights: str, num_classes: int) -> None:
    model = new_model(ImageUncertaintyConfig(backbone="resnet10t", num_classes=num_classes), weights)
    reference = timm.create_model("resnet10t", num_classes=7, checkpoint_path=weights).eval()
    pixels = torch.randn(2, 3, 64, 64)
    output = model(pixels)
    torch.testing.assert_close(
        output.pooler_output, reference.forward_head(reference.forward_features(pixels), True)
    )
    assert (output.logits is None) == (num_classes == 0)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())


def test_weights_of_another_backbone_or_class_count_are_refused_by_name(weights: str) -> None:
    with pytest.raises(BackboneError, match="does not fit backbone 'resnet18'"):
        new_model(ImageUncertaintyConfig(backbone="resnet18", num_classes=7), weights)
    with pytest.raises(BackboneError, match="fc"):
        new_model(ImageUncertaintyConfig(backbone="resnet10t", num_classes=5), weights)
