from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModel

from hub_models.configuration_vmf_encoder import VmfEncoderConfig
from hub_models.modeling_vmf_encoder import VmfEncoderModel


@pytest.fixture
def model() -> VmfEncoderModel:
    torch.manual_seed(0)
    return VmfEncoderModel(VmfEncoderConfig(input_dim=3, embedding_dim=4, widths=[8, 5])).eval()


@pytest.mark.parametrize("batch", [1, 6])
def test_a_posterior_for_every_row(model: VmfEncoderModel, batch: int):
    output = model(torch.rand(batch, 3))
    assert output.mean_direction.shape == (batch, 4)
    assert output.concentration.shape == output.uncertainty.shape == (batch,)
    torch.testing.assert_close(output.mean_direction.norm(dim=-1), torch.ones(batch))
    torch.testing.assert_close(output.uncertainty * output.concentration, torch.ones(batch))
    assert torch.equal(output.pooler_output, output.mean_direction)


def test_the_two_networks_are_independent(model: VmfEncoderModel):
    model(torch.rand(2, 3)).mean_direction.sum().backward()
    assert all(p.grad is None for p in model.log_concentration.parameters())
    assert all(p.grad is not None for p in model.direction.parameters())


def test_concentrations_get_the_range_asked_for(model: VmfEncoderModel):
    features = torch.rand(200, 3)
    model.set_concentration_range(features, 16, 32)
    kappa = model(features).concentration
    assert kappa.min().item() == pytest.approx(16, rel=1e-4)
    assert kappa.max().item() == pytest.approx(32, rel=1e-4)


def test_saved_and_loaded_it_is_the_same(model: VmfEncoderModel, tmp_path: Path):
    features = torch.rand(50, 3)
    model.set_concentration_range(features, 16, 32)
    model.save_pretrained(tmp_path)
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert type(loaded) is VmfEncoderModel
    for name, value in model(features).items():
        assert torch.equal(loaded(features)[name], value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_concentration_in_float32(model: VmfEncoderModel, dtype: torch.dtype):
    features = torch.rand(5, 3)
    model.set_concentration_range(features, 1e5, 2e5)  # beyond float16
    full = model(features)
    half = model.to(dtype)(features.to(dtype))
    assert half.mean_direction.dtype == dtype
    assert half.concentration.dtype == torch.float32
    torch.testing.assert_close(half.mean_direction.float(), full.mean_direction, atol=0.05, rtol=0)
    assert half.concentration.isfinite().all()


def test_gradients_stay_finite_at_extreme_concentrations(model: VmfEncoderModel):
    for shift in (-80.0, 60.0):
        model.config.log_concentration_shift = shift
        model.zero_grad()
        output = model(torch.rand(3, 3))
        (output.concentration.log().sum() + output.uncertainty.log().sum()).backward()
        assert all(p.grad.isfinite().all() for p in model.log_concentration.parameters())


def test_without_hidden_layers_it_is_linear():
    model = VmfEncoderModel(VmfEncoderConfig(input_dim=3, embedding_dim=2))
    assert [tuple(p.shape) for p in model.direction.parameters()] == [(2, 3), (2,)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embedding_dim": 1}, "at least 2 dimensions"),
        ({"input_dim": 0}, "input_dim is 0"),
        ({"widths": [4, 0]}, "every layer"),
        ({"log_concentration_scale": float("nan")}, "finite"),
    ],
)
def test_an_impossible_configuration_is_refused(fields: dict, message: str):
    with pytest.raises(StrictDataclassError) as error:
        VmfEncoderConfig(**fields)
    assert message in str(error.value.__cause__ or error.value)
