from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor

from hub_models.training import gradient_conflict
from hub_models.training.gradient_conflict import (
    CROP_MARGIN,
    JointModel,
    joint_loss,
    normalise,
    predict,
    train_jointly,
)
from hub_models.training.losses import squared_loss


def joint_model(stop_gradient: bool, classes: int = 2) -> JointModel:
    torch.manual_seed(0)
    return JointModel(timm.create_model("test_resnet", num_classes=classes), stop_gradient)


def bright_and_dark(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Grainy images, dark (class 0) or bright (class 1)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    grain = torch.randint(100, (count, 3, 16, 16), generator=generator)
    return (grain + 120 * labels[:, None, None, None]).to(torch.uint8), labels


def gradients(model: JointModel, loss: Tensor) -> tuple[list[Tensor | None], list[Tensor | None]]:
    model.zero_grad()
    loss.backward()
    parts = (model.backbone.parameters(), model.head.parameters())
    backbone, head = ([p.grad for p in part] for part in parts)
    return backbone, head


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_the_loss_predictor_reaches_the_backbone_only_without_the_stop_gradient(stop_gradient: bool):
    model = joint_model(stop_gradient)
    images, _ = bright_and_dark(8)
    _, predicted = model(normalise(images))
    backbone, head = gradients(model, squared_loss(predicted, torch.ones(8)))
    assert all(grad is not None and grad.abs().sum() > 0 for grad in head)
    reached = [grad is not None and bool(grad.abs().sum() > 0) for grad in backbone]
    assert any(reached) is not stop_gradient


def test_the_classifier_reaches_the_backbone_but_not_the_loss_predictor():
    model = joint_model(stop_gradient=False)
    images, labels = bright_and_dark(8)
    logits, predicted = model(normalise(images))
    backbone, head = gradients(model, joint_loss(logits, predicted, labels, weight=0.0))
    assert any(grad is not None and grad.abs().sum() > 0 for grad in backbone)
    assert all(grad is None or grad.abs().sum() == 0 for grad in head)


def test_the_predicted_loss_does_not_teach_the_classifier_through_its_target():
    logits = torch.tensor([[1.0, -1.0]], requires_grad=True)
    predicted = torch.tensor([5.0], requires_grad=True)
    labels = torch.tensor([0])
    (with_predictor,) = torch.autograd.grad(joint_loss(logits, predicted, labels, weight=3.0), logits)
    (alone,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, labels), logits)
    torch.testing.assert_close(with_predictor, alone)


def test_joint_loss_is_cross_entropy_and_weighted_squared_error():
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    task = [torch.tensor(1 + torch.e**-2.0).log(), torch.tensor(1 + torch.e**1.0).log()]
    expected = sum(task) / 2 + 3 * ((0.5 - task[0]) ** 2 + (2.0 - task[1]) ** 2) / 2
    torch.testing.assert_close(joint_loss(logits, torch.tensor([0.5, 2.0]), labels, 3.0), expected)


def trained(stop_gradient: bool, weight: float, seed: int = 0, epochs: int = 2) -> JointModel:
    model = joint_model(stop_gradient)
    assert list(train_jointly(model, *bright_and_dark(256), weight, epochs, seed)) == list(
        range(1, epochs + 1)
    )
    return model


def test_with_the_stop_gradient_the_weight_leaves_the_backbone_alone():
    """Why the experiment trains the stop-gradient at one weight only."""
    light, heavy = trained(True, weight=1.0), trained(True, weight=10.0)
    for a, b in zip(light.backbone.parameters(), heavy.backbone.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    light, heavy = trained(False, weight=1.0), trained(False, weight=10.0)
    assert not torch.equal(light.backbone.fc.weight, heavy.backbone.fc.weight)


def test_training_is_the_same_for_the_same_seed_only():
    first, again, other = (trained(False, 1.0, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["backbone.fc.weight"], other["backbone.fc.weight"])


def test_it_learns_what_is_easy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gradient_conflict, "BATCH", 16)
    model = trained(True, weight=1.0, epochs=4)
    assert not model.training
    images, labels = bright_and_dark(101, seed=1)
    classes, losses = predict(model, images)
    assert (classes == labels).float().mean() > 0.8
    assert losses.shape == (101,)
    assert (losses > 0).all()


def test_predictions_do_not_depend_on_the_batches(monkeypatch: pytest.MonkeyPatch):
    model = joint_model(stop_gradient=True).eval()
    images, _ = bright_and_dark(10)
    _, expected = predict(model, images)
    monkeypatch.setattr(gradient_conflict, "BATCH", 3)
    _, losses = predict(copy.deepcopy(model), images)
    torch.testing.assert_close(losses, expected)


def test_pixels_run_from_minus_one_to_one():
    images = torch.tensor([0, 255], dtype=torch.uint8).repeat(3, 1)[None, :, None]
    assert normalise(images).flatten().tolist() == [-1, 1] * 3


def test_augmented_images_are_shifted_and_perhaps_mirrored_originals():
    side = 5
    images = torch.randint(1, 256, (6, 3, side, side), dtype=torch.uint8)
    padded = torch.nn.functional.pad(images, [CROP_MARGIN] * 4)
    rows = torch.arange(6).repeat(20)
    made = gradient_conflict._shifted_and_mirrored(padded, rows, torch.Generator().manual_seed(0))
    assert made.shape == (120, 3, side, side)
    seen = set()
    for row, image in zip(rows.tolist(), made, strict=True):
        (place,) = [
            (top, left, mirrored)
            for top in range(2 * CROP_MARGIN + 1)
            for left in range(2 * CROP_MARGIN + 1)
            for mirrored in (False, True)
            if torch.equal(window(padded[row], top, left, side, mirrored), image)
        ][:1]
        seen.add(place)
    assert len({top for top, _, _ in seen}) == len({left for _, left, _ in seen}) == 2 * CROP_MARGIN + 1
    assert {mirrored for _, _, mirrored in seen} == {False, True}


def window(image: Tensor, top: int, left: int, side: int, mirrored: bool) -> Tensor:
    cut = image[:, top : top + side, left : left + side]
    return cut.flip(2) if mirrored else cut
