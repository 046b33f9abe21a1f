from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_models.spell import spell_repellency
from hub_models.spell.spell_memory import MemoryReferences
from hub_models.spell.spell_repellency import Push, batch_pairs, first_equal, repel


def push(images: torch.Tensor, rows: torch.Tensor, radius: float, gain: float = 1.6, **extra: object) -> Push:
    references = MemoryReferences(rows[:, :, None, None])
    return repel(images, references.within(images, radius), radius, gain, **extra)


def nearest(images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return (images[:, None].double() - rows[None].double()).norm(dim=2).amin(1)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 0.99), st.floats(1.0, 2.0))
def test_one_ball_is_left_by_the_formula_of_the_paper(share: float, gain: float):
    reference = torch.randn(1, 24, generator=torch.Generator().manual_seed(0))
    direction = torch.randn(24, generator=torch.Generator().manual_seed(1))
    image = (reference + share * 3.0 * direction / direction.norm()).float()
    moved = push(image, reference, 3.0, gain)
    d = (image.double() - reference.double()).norm()
    formula = gain * (3.0 / d - 1) * (image.double() - reference.double())
    assert torch.allclose(moved.displacement, formula, rtol=1e-5, atol=1e-9)
    assert moved.balls.tolist() == [1]


def test_over_compensation_of_one_lands_on_the_sphere():
    reference, image = torch.zeros(1, 8), torch.full((1, 8), 0.1)
    moved = image + push(image, reference, 2.0, 1.0).displacement
    assert float(moved.norm()) == pytest.approx(2.0, rel=1e-6)


def test_outside_all_balls_nothing_moves():
    rows = torch.randn(10, 16, generator=torch.Generator().manual_seed(0))
    moved = push(rows + 100, rows, 1.0)
    assert not moved.displacement.any()
    assert not moved.balls.any()


def test_duplicates_do_not_multiply_the_push():
    reference, image = torch.zeros(1, 8), torch.full((1, 8), 0.1)
    once, often = push(image, reference, 2.0), push(image, reference.repeat(50, 1), 2.0)
    assert torch.allclose(once.displacement, often.displacement)
    assert often.balls.tolist() == [50]


def test_balls_that_push_into_each_other_are_left():
    rows = torch.zeros(2, 16)
    rows[0, 0], rows[1, 0] = 1.0, -1.0
    image = torch.zeros(1, 16)
    assert nearest(image + push(image, rows, 2.0).displacement, rows) < 2  # they cancel
    assert nearest(image + push(image, rows, 2.0, leave=True).displacement, rows) >= 2


def test_more_balls_than_are_kept_still_push_within_bounds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spell_repellency, "_KEPT", 0)
    rows = torch.randn(20, 16, generator=torch.Generator().manual_seed(0)) + 1
    displacement = push(rows.mean(0, keepdim=True), rows, 8.0).displacement
    assert 0 < float(displacement.norm()) <= 1.6 * 16 + 1e-6


def test_at_distance_zero_the_direction_is_seeded_and_depends_on_the_reference_alone():
    rows = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    one = push(rows[:1].clone(), rows[:1], 1.0)
    again = push(rows[:1].clone(), rows[:1], 1.0)
    other = push(rows[:1].clone(), rows[:1], 1.0, seed=1)
    assert float(one.displacement.norm()) == pytest.approx(1.6, rel=1e-6)
    assert torch.equal(one.displacement, again.displacement)
    assert not torch.allclose(one.displacement, other.displacement)


def apart(images: torch.Tensor, radius: float, groups: list[int] | None = None) -> torch.Tensor:
    chosen = sorted(set(first_equal(images)))
    pairs = batch_pairs(images, chosen, groups or [0] * len(images), radius)
    return repel(images, pairs, radius, 1.0).displacement


def test_images_of_a_batch_push_each_other_and_not_themselves():
    images = torch.tensor([[0.0, 0.0], [1.0, 0.0], [50.0, 0.0]])
    moved = apart(images, 3.0)
    assert torch.allclose(moved, torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 0.0]]).double())
    assert not apart(images[:1], 3.0).any()


def test_groups_keep_to_themselves():
    images = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    moved = apart(images, 3.0, [0, 0, 1, 1])
    assert torch.allclose(moved[:, 1], torch.zeros(4).double())
    assert moved[0, 0] < 0 < moved[1, 0]


def test_equal_images_are_one_image():
    images = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert first_equal(images.repeat(2, 1)) == [0, 1, 0, 1]
    doubled = apart(images.repeat(2, 1), 3.0)
    assert torch.allclose(doubled[:2], apart(images, 3.0))


def test_equal_starts_do_not_make_equal_images():
    images = torch.zeros(2, 40)
    images[1, 30] = 1
    assert first_equal(images) == [0, 1]
