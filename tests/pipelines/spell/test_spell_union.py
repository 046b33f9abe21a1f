from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_models.spell.spell_union import ray_exit, smallest_exit


def offsets(count: int, dimensions: int, seed: int, radius: float = 1.0) -> torch.Tensor:
    """A point minus the centres of balls that all hold it."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(count, dimensions, dtype=torch.float64, generator=generator)
    lengths = radius * torch.rand(count, 1, dtype=torch.float64, generator=generator)
    return lengths * directions / directions.norm(dim=1, keepdim=True)


def outside(offset: torch.Tensor, displacement: torch.Tensor, radius: float) -> bool:
    return bool((offset + displacement).norm(dim=1).min() >= radius * (1 - 1e-9))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(2, 40), st.integers(0, 10_000))
def test_the_smallest_exit_leaves_every_ball(count: int, dimensions: int, seed: int):
    away = offsets(count, dimensions, seed)
    displacement = smallest_exit(away, 1.0)
    assert outside(away, displacement, 1.0)
    if count < dimensions:  # sideways alone is a way out of this length
        assert displacement.norm() <= (1 - away.norm(dim=1).min() ** 2).sqrt() + 1e-9


def test_one_ball_is_left_straight():
    away = offsets(1, 8, 3)
    displacement = smallest_exit(away, 1.0)
    straight = (1 - away.norm()) * away[0] / away.norm()
    assert displacement.norm() <= 1.05 * straight.norm()


def test_two_balls_against_the_smallest_exit_found_by_trying_all_directions():
    away = torch.tensor([[0.3, 0.0, 0.0], [-0.2, 0.1, 0.0]], dtype=torch.float64)
    angle = torch.linspace(0, torch.pi, 361, dtype=torch.float64)
    turn = torch.linspace(0, 2 * torch.pi, 721, dtype=torch.float64)
    a, b = torch.meshgrid(angle, turn, indexing="ij")
    directions = torch.stack([a.sin() * b.cos(), a.sin() * b.sin(), a.cos()], -1).reshape(-1, 3)
    along = directions @ away.T
    room = 1 - away.square().sum(1)
    lengths = torch.linspace(0, 1.2, 601, dtype=torch.float64)
    best = min(
        float(length)
        for length in lengths
        if bool(((length**2 + 2 * length * along - room) >= 0).all(1).any())
    )
    found = float(smallest_exit(away, 1.0).norm())
    assert best - 0.003 <= found <= 1.05 * best


def test_a_point_at_the_centre_leaves_in_any_direction():
    away = torch.zeros(1, 6, dtype=torch.float64)
    assert float(smallest_exit(away, 2.0).norm()) == pytest.approx(2.0)


def test_no_dimension_left_across():
    away = torch.tensor([[0.2], [-0.3]], dtype=torch.float64)
    displacement = smallest_exit(away, 1.0)
    assert outside(away, displacement, 1.0)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 8), st.integers(1, 20), st.integers(0, 10_000))
def test_past_its_exit_a_ray_stays_outside(count: int, dimensions: int, seed: int):
    away = offsets(count, dimensions, seed)
    direction = torch.randn(
        dimensions, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1)
    )
    direction = direction / direction.norm()
    reach = ray_exit(away, direction, 1.0)
    for length in (reach, 1.5 * reach, 10 * reach):
        assert outside(away, length * direction, 1.0)
    assert float((away + 0.999 * reach * direction).norm(dim=1).min()) < 1
