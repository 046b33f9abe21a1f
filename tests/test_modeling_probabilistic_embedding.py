from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch.nn import functional

from hub_models.configuration_probabilistic_embedding import ProbabilisticEmbeddingConfig
from hub_models.errors import DistributionError
from hub_models.modeling_probabilistic_embedding import ProbabilisticEmbeddingModel

DIM = 6


def tiny(**fields: Any) -> ProbabilisticEmbeddingModel:
    torch.manual_seed(0)
    config = ProbabilisticEmbeddingConfig(backbone="test_efficientnet", dim=DIM, image_size=32, **fields)
    return ProbabilisticEmbeddingModel(config).eval()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit", "resnet10t"])
@torch.no_grad()
def test_the_norm_of_the_embedding_is_the_concentration(backbone: str, pixels: torch.Tensor) -> None:
    config = ProbabilisticEmbeddingConfig(backbone=backbone, dim=DIM, concentration_scale=3.0)
    model = ProbabilisticEmbeddingModel(config).eval()
    side = 160 if "vit" in backbone else 32
    output = model(functional.interpolate(pixels, size=(side, side)))
    embedding = model.embedding(output.pooler_output)
    torch.testing.assert_close(output.concentration, 3 * embedding.norm(dim=1))
    torch.testing.assert_close(output.mean_direction, embedding / embedding.norm(dim=1, keepdim=True))
    torch.testing.assert_close(output.uncertainty, 1 / output.concentration)
    assert output.mean_direction.shape == (3, DIM)


@torch.no_grad()
def test_a_head_gives_a_concentration_that_the_embedding_does_not_touch(pixels: torch.Tensor) -> None:
    model = tiny(concentration_from="head", head_width=4)
    before = model(pixels)
    model.embedding.weight.mul_(7)
    model.embedding.bias.mul_(7)
    after = model(pixels)
    assert (before.concentration > 0).all()
    torch.testing.assert_close(before.concentration, after.concentration)
    torch.testing.assert_close(before.mean_direction, after.mean_direction)


@torch.no_grad()
def test_one_image_is_embedded_as_in_a_batch(pixels: torch.Tensor) -> None:
    model = tiny()
    together, alone = model(pixels), model(pixels[1:2])
    torch.testing.assert_close(alone.concentration, together.concentration[1:2])
    torch.testing.assert_close(alone.mean_direction, together.mean_direction[1:2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("source", ["norm", "head"])
@torch.no_grad()
def test_half_precision_gives_float32_distributions(
    dtype: torch.dtype, source: str, pixels: torch.Tensor
) -> None:
    model = tiny(concentration_from=source)
    exact = model(pixels)
    output = model.to(dtype)(pixels.to(dtype))
    assert output.concentration.dtype == output.mean_direction.dtype == torch.float32
    torch.testing.assert_close(output.mean_direction.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(output.concentration, exact.concentration, rtol=0.05, atol=0)


@torch.no_grad()
def test_an_embedding_of_zero_is_finite(pixels: torch.Tensor) -> None:
    model = tiny()
    model.embedding.weight.zero_()
    model.embedding.bias.zero_()
    output = model(pixels)
    assert all(output[name].isfinite().all() for name in output.keys())  # noqa: SIM118
    assert (output.concentration > 0).all()


@torch.no_grad()
def test_a_head_far_from_its_data_is_finite(pixels: torch.Tensor) -> None:
    model = tiny(concentration_from="head")
    for bias in (-1e4, 1e4):
        model.concentration_head[-1].bias.fill_(bias)
        output = model(pixels)
        assert output.concentration.isfinite().all()
        assert output.uncertainty.isfinite().all()


@torch.no_grad()
def test_proxies_say_how_likely_a_direction_is_under_each_class() -> None:
    """With one concentration a class it is the vMF density, log C(k) + k cos."""
    from hub_models.von_mises_fisher import log_density

    model = tiny()
    directions = functional.normalize(torch.randn(2, DIM), dim=1)
    model.keep_proxies(["a", "b"], directions, torch.tensor([[3.0], [8.0]]))
    queries = functional.normalize(torch.randn(5, DIM), dim=1)
    expected = log_density(queries @ directions.T, torch.tensor([3.0, 8.0]), DIM)
    torch.testing.assert_close(model.class_log_density(queries), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_everything_survives_saving(tmp_path: Path, pixels: torch.Tensor) -> None:
    model = tiny(concentration_from="head")
    model.keep_proxies(["a", "b"], functional.normalize(torch.randn(2, DIM), dim=1), torch.rand(2, DIM) + 1)
    model.save_pretrained(tmp_path)
    loaded = ProbabilisticEmbeddingModel.from_pretrained(tmp_path).eval()
    assert loaded.config.class_names == ["a", "b"]
    assert loaded.config.non_isotropic
    torch.testing.assert_close(loaded.proxy_concentrations, model.proxy_concentrations)
    expected, actual = model(pixels), loaded(pixels)
    for name in expected.keys():  # noqa: SIM118
        torch.testing.assert_close(actual[name], expected[name])


def test_proxies_that_do_not_fit_are_refused() -> None:
    model = tiny()
    with pytest.raises(DistributionError, match="keeps no class proxies"):
        model.class_log_density(torch.ones(1, DIM))
    with pytest.raises(DistributionError, match=r"proxies of 2 classes in 6 dimensions"):
        model.keep_proxies(["a", "b"], torch.ones(2, DIM + 1), torch.ones(2, 1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dim", 1),
        ("concentration_from", "prayer"),
        ("concentration_scale", 0.0),
        ("head_width", 0),
        ("dim", "many"),
    ],
)
def test_a_configuration_that_cannot_be_built_names_its_field(field: str, value: object) -> None:
    with pytest.raises(StrictDataclassError, match=field):
        ProbabilisticEmbeddingConfig(backbone="test_efficientnet", **{field: value})
