"""The released generators: what they were saved with, and what they are for."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from hub_models.generation.checkpoints import GOLDEN, WEIGHTS, load_pipeline, released
from hub_models.generation.classifier import judge, load_classifier
from hub_models.generation.digits import load_digits
from hub_models.generation.sampling import generate
from hub_models.paths import CHECKPOINTS


def test_digit_models_are_released_and_small():
    assert {"digits-flow", "digits-flow-memorised"} <= set(released())
    for name in released():
        assert (CHECKPOINTS / name / WEIGHTS).stat().st_size <= 10 * 2**20


@pytest.mark.parametrize("name", [name for name in released() if "flow" in name])
def test_network_gives_its_golden_output(name):
    golden = load_file(CHECKPOINTS / name / GOLDEN)
    expected = golden.pop("velocity")
    with torch.no_grad():
        assert torch.allclose(load_pipeline(name).unet(**golden).sample, expected, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in released() if "classifier" in name])
def test_classifier_gives_its_golden_output(name):
    golden = load_file(CHECKPOINTS / name / GOLDEN)
    with torch.no_grad():
        assert torch.allclose(load_classifier(name)(golden["images"]), golden["logits"], atol=1e-3)


def test_memorised_model_recreates_its_training_images():
    labels = list(range(10))
    samples = generate(load_pipeline("digits-flow-memorised"), labels, 0, steps=12)
    seen = load_digits("train").first(64).samples()
    assert (torch.cdist(samples.flatten(1), seen.flatten(1)).amin(1) < 4.4).float().mean() >= 0.8


@pytest.mark.slow
def test_default_model_makes_the_digit_asked_for():
    labels = [label for label in range(10) for _ in range(30)]
    _, seen = judge(load_classifier(), generate(load_pipeline(), labels, 0))
    assert (seen == torch.tensor(labels)).float().mean() >= 0.95
