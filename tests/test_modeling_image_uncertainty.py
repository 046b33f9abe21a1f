from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hub_models.configuration_image_uncertainty import ImageUncertaintyConfig
from hub_models.errors import BackboneError, ImageSourceError
from hub_models.image_features import ImageFeatures
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel
from hub_models.reference_distribution import ReferenceDistribution

READ_OUTS = {
    "error": {"inputs": ["pooled", "class_statistics"], "width": 16, "depth": 1, "members": 2},
    "transfer": {"inputs": ["stages"], "width": 16, "depth": 2},
}
#: Architecture -> (side of the test image, what makes it small). One for each way of building a network.
ARCHITECTURES: dict[str, tuple[int, dict[str, Any]]] = {
    "resnet10t": (64, {}),
    "tf_efficientnet_lite0": (64, {}),
    "vit_tiny_patch16_224": (64, {"img_size": 64}),
    "swin_tiny_patch4_window7_224": (64, {"img_size": 64}),
    "vit_small_patch16_dinov3": (64, {"img_size": 64}),
    "eva02_tiny_patch14_224": (56, {"img_size": 56}),
    "maxvit_rmlp_pico_rw_256": (64, {"img_size": 64}),
    "convnext_atto": (64, {}),
    "efficientvit_m0": (64, {"img_size": 64}),
    "xcit_nano_12_p16_224": (64, {"img_size": 64}),
    "naflexvit_base_patch16_gap": (64, {"depth": 3, "embed_dim": 64, "num_heads": 2}),
    "beit_base_patch16_224": (64, {"img_size": 64, "depth": 2}),
    "deit_tiny_distilled_patch16_224": (64, {"img_size": 64, "depth": 3}),
}


def random_model(backbone: str = "resnet10t", **fields: Any) -> ImageUncertaintyModel:
    """Weights and statistics that are no special case, so that a lost or swapped tensor shows."""
    torch.manual_seed(0)
    settings = {"num_classes": 7, "read_outs": READ_OUTS, **fields}
    model = ImageUncertaintyModel(ImageUncertaintyConfig(backbone=backbone, **settings)).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if (name.startswith("heads.") and "input_scale" not in name) or name.endswith("running_mean"):
                tensor.normal_(0, 0.1)
        model.reference.location.normal_()
        model.reference.scale.uniform_(0.5, 2)
    return model


@torch.no_grad()
def with_reference(model: ImageUncertaintyModel) -> ImageUncertaintyModel:
    features = model.extract(torch.randn(16, 3, 64, 64))
    if model.config.read_outs:
        model.reference.fit_read_outs(model.uncertainties(features))
    model.set_reference(features, name="noise")
    return model


def tensors_of(output: Any) -> dict[str, Tensor]:
    named = {name: value for name, value in output.items() if isinstance(value, Tensor)}
    return named | {f"uncertainties.{name}": value for name, value in output.uncertainties.items()}


@torch.no_grad()
def test_the_output_has_stable_names_and_shapes() -> None:
    output = with_reference(random_model())(torch.randn(3, 3, 64, 64))
    assert {name: tuple(value.shape) for name, value in tensors_of(output).items()} == {
        "pooler_output": (3, 512),
        "logits": (3, 7),
        "uncertainty": (3,),
        "uncertainty_percentile": (3,),
        "reference_distance": (3,),
        "uncertainties.error": (3,),
        "uncertainties.transfer": (3,),
    }
    assert ((output.uncertainty_percentile >= 0) & (output.uncertainty_percentile <= 1)).all()
    assert (output.reference_distance > 0).all()
    assert all((value > 0).all() for value in output.uncertainties.values())


@torch.no_grad()
def test_a_batch_gives_what_its_images_give_alone() -> None:
    model, pixels = with_reference(random_model()), torch.randn(4, 3, 64, 64)
    batch = tensors_of(model(pixels))
    singles = [tensors_of(model(pixels[i : i + 1])) for i in range(4)]
    assert np.ptp(batch["uncertainty"].numpy()) > 1e-3
    for name, value in batch.items():
        joined = torch.cat([single[name] for single in singles])
        # A percentile is steep where reference images lie close together.
        tolerance = 1e-2 if name == "uncertainty_percentile" else 1e-4
        torch.testing.assert_close(joined, value, rtol=1e-4, atol=tolerance)


@torch.no_grad()
def test_cached_features_give_the_same_as_pixels() -> None:
    model, pixels = with_reference(random_model()), torch.randn(2, 3, 64, 64)
    features = model.extract(pixels)
    cached = ImageFeatures(features.pooled.clone(), features.stages.clone(), model.classify(features.pooled))
    for name, value in tensors_of(model(pixels)).items():
        torch.testing.assert_close(tensors_of(model.read_out(cached))[name], value)


@torch.no_grad()
def test_without_a_classifier_there_are_no_logits() -> None:
    model = random_model(num_classes=0, read_outs={"transfer": READ_OUTS["transfer"]})
    output = with_reference(model)(torch.randn(2, 3, 64, 64))
    assert output.logits is None
    assert model.classify(output.pooler_output) is None
    assert output.uncertainty.shape == (2,)


@torch.no_grad()
def test_without_read_outs_there_is_no_uncertainty() -> None:
    output = with_reference(random_model(read_outs=None))(torch.randn(2, 3, 64, 64))
    assert output.uncertainty is None
    assert output.uncertainty_percentile is None
    assert output.uncertainties == {}
    assert output.logits.shape == (2, 7)


def test_no_gradient_reaches_the_backbone() -> None:
    model = random_model().train()
    output = model(torch.randn(4, 3, 64, 64))
    output.uncertainty.sum().backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    heads = {name: p.grad for name, p in model.heads.named_parameters()}
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in heads.values())


@torch.no_grad()
def test_the_default_is_the_weighted_sum_of_standardised_logarithms() -> None:
    weights = {"error": 0.25, "transfer": 2.0}
    model = with_reference(random_model(default_weights=weights))
    output = model(torch.randn(5, 3, 64, 64))
    expected = sum(
        weight
        * (output.uncertainties[name].log() - model.reference.location[row])
        / model.reference.scale[row]
        for row, (name, weight) in enumerate(weights.items())
    )
    torch.testing.assert_close(output.uncertainty, expected)
    equal = with_reference(random_model())
    output = equal(torch.randn(5, 3, 64, 64))
    parts = [equal.reference.standardise(value, name) for name, value in output.uncertainties.items()]
    torch.testing.assert_close(output.uncertainty, torch.stack(parts).mean(dim=0))


@torch.no_grad()
def test_the_order_in_which_read_outs_are_written_means_nothing(tmp_path: Path) -> None:
    """Saved configurations are sorted by name, so rows of the reference must be too."""
    backwards = dict(sorted(READ_OUTS.items(), reverse=True))
    model, pixels = with_reference(random_model(read_outs=backwards)), torch.randn(3, 3, 64, 64)
    model.save_pretrained(tmp_path)
    loaded = ImageUncertaintyModel.from_pretrained(tmp_path)
    for name, value in tensors_of(model(pixels)).items():
        torch.testing.assert_close(tensors_of(loaded(pixels))[name], value, msg=name)


@torch.no_grad()
def test_another_reference_moves_percentiles_and_not_uncertainties() -> None:
    model, pixels = with_reference(random_model()), torch.randn(4, 3, 64, 64)
    before = model(pixels)
    features = model.extract(torch.rand(9, 3, 64, 64))
    model.set_reference(features, name="other images")
    after = model(pixels)
    torch.testing.assert_close(after.uncertainty, before.uncertainty, rtol=0, atol=0)
    assert not torch.equal(after.reference_distance, before.reference_distance)
    own = model.combine(model.uncertainties(features))
    expected = [(own < u).float().mean() for u in after.uncertainty]
    np.testing.assert_allclose(after.uncertainty_percentile, expected, atol=1 / 9 + 1e-3)
    assert (model.config.reference_size, model.config.reference_name) == (9, "other images")


@torch.no_grad()
def test_a_reference_that_means_nothing_is_refused() -> None:
    model = random_model()
    features = model.extract(torch.randn(3, 3, 64, 64))
    with pytest.raises(ImageSourceError, match="reference 'one': needs at least two images"):
        model.set_reference(ImageFeatures(*(part[:1] for part in features)), name="one")
    for field in ("pooled", "stages"):
        broken = getattr(features, field).clone()
        broken[1, 0] = torch.nan
        with pytest.raises(BackboneError, match="reference 'broken': the features hold NaN or infinity"):
            model.set_reference(features._replace(**{field: broken}), name="broken")
    assert model.reference.quantiles.isnan().all()
    assert model.config.reference_size == 0


def test_a_stage_that_the_backbone_lacks_is_named() -> None:
    with pytest.raises(BackboneError, match=r"stage_indices is \[9\]"):
        random_model(stage_indices=[9])


@pytest.mark.parametrize("backbone", ARCHITECTURES)
@torch.no_grad()
def test_saving_and_loading_changes_nothing(backbone: str, tmp_path: Path) -> None:
    """Loading builds the model on the meta device; what timm does not save must be made again there."""
    side, kwargs = ARCHITECTURES[backbone]
    model = random_model(backbone, backbone_kwargs=kwargs)
    model.set_reference(model.extract(torch.randn(4, 3, side, side)), name="noise")
    pixels = torch.randn(2, 3, side, side)
    expected = tensors_of(model(pixels))
    model.save_pretrained(tmp_path)
    loaded, info = ImageUncertaintyModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert not loaded.training
    for name, value in loaded.backbone.named_buffers():
        torch.testing.assert_close(value, model.backbone.get_buffer(name), rtol=0, atol=0)
    found = tensors_of(loaded(pixels))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.isfinite(value).all()
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)
    logits = model.backbone(pixels)
    torch.testing.assert_close(expected["logits"], logits, rtol=1e-5, atol=1e-5)


def test_a_half_initialised_checkpoint_gets_defined_buffers(tmp_path: Path) -> None:
    """Buffers that a checkpoint lacks are reported and neutral, not whatever was in memory."""
    from safetensors.torch import load_file, save_file

    with_reference(random_model()).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    kept = {key: value for key, value in state.items() if "reference" not in key and "input_" not in key}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    loaded, info = ImageUncertaintyModel.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == set(state) - set(kept)
    neutral = ReferenceDistribution(list(READ_OUTS), loaded.reference.feature_mean.numel())
    for name, buffer in neutral.named_buffers():
        torch.testing.assert_close(loaded.reference.get_buffer(name), buffer, equal_nan=True)
    for head in loaded.heads.values():
        assert (head.input_mean == 0).all()
        assert (head.input_scale == 1).all()
