from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from hub_models.evaluation.results import read_results
from hub_models.generation.checkpoints import GOLDEN
from hub_models.generation.classifier import SmallClassifier, judge, load_classifier
from hub_models.generation.digits import load_digits
from hub_models.generation.train_classifier import _varied, train_classifier
from hub_models.paths import CHECKPOINTS

RECIPE = """
name = "tiny"
task = "small-image-classification"
summary = "For tests."
licence = "cc-by-sa-3.0"
[data]
images = "digits"
count = 200
[training]
passes = 1
width = 4
"""


def test_train_writes_a_folder_with_its_accuracy(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    accuracy = train_classifier(path, tmp_path / "made", show_progress=False)
    (result,) = read_results(tmp_path / "made" / "results.jsonl")
    assert (result.metric, result.n) == ("accuracy", 1000)
    assert result.value == pytest.approx(accuracy, abs=1e-6)
    classifier = load_classifier(tmp_path / "made")
    golden = load_file(tmp_path / "made" / GOLDEN)
    with torch.no_grad():
        assert torch.allclose(classifier(golden["images"]), golden["logits"], atol=1e-5)


def test_judge_gives_the_features_and_classes_of_every_image():
    classifier = SmallClassifier(1, 10, 4).eval()
    images = torch.randn(7, 1, 32, 32)
    features, classes = judge(classifier, images)
    assert features.shape == (7, 64)
    assert torch.equal(classes, classifier(images).argmax(1))


def test_variations_move_and_mirror():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(_varied(image, 0, False, torch.Generator()), image)
    mirrored = _varied(image.expand(50, 1, 4, 4), 0, True, torch.Generator().manual_seed(0))
    assert {tuple(one.flatten().tolist()) for one in mirrored} == {
        tuple(image.flatten().tolist()),
        tuple(image.flip(-1).flatten().tolist()),
    }
    moved = _varied(image.expand(200, 1, 4, 4), 1, False, torch.Generator().manual_seed(0))
    assert len({tuple(one.flatten().tolist()) for one in moved}) == 9


def test_released_classifier_recognises_held_out_digits():
    digits = load_digits("test")
    _, classes = judge(load_classifier(), digits.samples())
    accuracy = (classes == digits.labels).double().mean().item()
    (result,) = read_results(CHECKPOINTS / "digit-classifier" / "results.jsonl")
    assert accuracy >= 0.97
    assert accuracy == pytest.approx(result.value, abs=0.002)
