from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_models.spell import spell_memory
from hub_models.spell.spell_errors import ReferencesError
from hub_models.spell.spell_memory import MemoryReferences


def pairs_by_brute_force(queries: torch.Tensor, rows: torch.Tensor, radius: float) -> set[tuple[int, int]]:
    return {
        (q, r)
        for q in range(len(queries))
        for r in range(len(rows))
        if float((queries[q].double() - rows[r].double()).norm()) <= radius
    }


def pairs_found(references: MemoryReferences, queries: torch.Tensor, radius: float) -> list[tuple[int, int]]:
    found = []
    for some in references.search().within(queries, radius):
        assert torch.equal(some.rows, references.rows[some.reference])
        exact = (queries[some.query].double() - some.rows.double()).norm(dim=1)
        assert torch.equal(some.distance, exact)
        found += zip(some.query.tolist(), some.reference.tolist(), strict=True)
    return found


@pytest.fixture(
    params=[(1 << 22, 1 << 22), (64, 1 << 22), (64, 0)], ids=["one chunk", "many", "few coordinates"]
)
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    elements, many = request.param
    monkeypatch.setattr(spell_memory, "_ELEMENTS", elements)
    monkeypatch.setattr(spell_memory, "_MANY", many)
    monkeypatch.setattr(spell_memory, "_FEW", 5)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_equals_brute_force_on_the_border_too(scale: float):
    generator = torch.Generator().manual_seed(0)
    queries = scale * torch.randn(5, 16, generator=generator)
    rows = scale * torch.randn(40, 16, generator=generator)
    rows[3] = queries[0]  # distance zero
    rows[4] = rows[5]  # a duplicate
    border = float((queries[1].double() - rows[7].double()).norm())
    for radius in (border, border * (1 - 1e-6), border * (1 + 1e-6), 4.5 * scale):
        found = pairs_found(MemoryReferences(rows.view(40, 4, 2, 2)), queries, radius)
        assert len(found) == len(set(found))
        assert set(found) == pairs_by_brute_force(queries, rows, radius)


@pytest.mark.usefixtures("_chunks")
def test_the_nearest_equals_brute_force():
    generator = torch.Generator().manual_seed(1)
    queries, rows = torch.randn(6, 12, generator=generator), torch.randn(50, 12, generator=generator)
    index, distance = MemoryReferences(rows.view(50, 3, 2, 2)).nearest(queries)
    exact = (queries[:, None].double() - rows[None].double()).norm(dim=2)
    assert torch.equal(index, exact.argmin(1))
    assert torch.equal(distance, exact.amin(1))


def test_near_coincidence_far_from_the_origin_is_not_lost_to_rounding():
    rows = 1000 + torch.randn(8, 32, generator=torch.Generator().manual_seed(2))
    queries = rows[:2] + 1e-3
    found = pairs_found(MemoryReferences(rows.view(8, 2, 4, 4)), queries, 0.01)
    assert found == [(0, 0), (1, 1)]


def test_a_low_matmul_precision_misses_nothing():
    before = torch.get_float32_matmul_precision()
    generator = torch.Generator().manual_seed(3)
    queries, rows = torch.randn(4, 64, generator=generator), torch.randn(100, 64, generator=generator)
    try:
        torch.set_float32_matmul_precision("medium")
        found = pairs_found(MemoryReferences(rows.view(100, 4, 4, 4)), queries, 10.5)
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(found) == pairs_by_brute_force(queries, rows, 10.5)


@pytest.mark.usefixtures("_chunks")
def test_autocast_misses_nothing():
    generator = torch.Generator().manual_seed(3)
    queries, rows = torch.randn(4, 64, generator=generator), torch.randn(100, 64, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        found = pairs_found(MemoryReferences(rows.view(100, 4, 4, 4)), queries, 10.5)
    assert set(found) == pairs_by_brute_force(queries, rows, 10.5)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31), st.sampled_from([(3, 4, 4), (48,), (6, 8)]), st.floats(0.2, 3), st.floats(0, 50)
)
def test_few_coordinates_exclude_no_pair_inside(
    seed: int, shape: tuple[int, ...], share: float, off_centre: float
):
    generator = torch.Generator().manual_seed(seed)
    scales = torch.rand(48, generator=generator) ** 4  # some coordinates say most
    rows = scales * torch.randn(60, 48, generator=generator) + off_centre
    rows[7:9] = rows[3]
    queries = torch.cat([rows[:2], rows[10:14] + 0.1 * torch.randn(4, 48, generator=generator)])
    references = MemoryReferences(rows.view(60, *shape))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spell_memory, "_MANY", 0)
        patch.setattr(spell_memory, "_FEW", 8)
        radius = share * references.typical_distance()
        found = pairs_found(references, queries, radius)
        index, distance = references.nearest(queries)
    assert len(found) == len(set(found))
    assert set(found) == pairs_by_brute_force(queries, rows, radius)
    exact = (queries[:, None].double() - rows[None].double()).norm(dim=2)
    assert torch.equal(distance, exact.amin(1))
    assert torch.equal(index, exact.argmin(1))


def test_half_precision_extremes():
    rows = torch.tensor([[65504.0, -65504.0], [6e-8, 0.0]], dtype=torch.float16).view(2, 1, 1, 2)
    found = pairs_found(MemoryReferences(rows), torch.tensor([[65504.0, -65504.0], [0.0, 0.0]]), 1e-7)
    assert found == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("references", "told"),
    [
        (torch.zeros(0, 3, 4, 4), "nothing to protect"),
        (torch.zeros(3), "sample shape"),
        (torch.zeros(2, 3, dtype=torch.int64), "int64"),
        (torch.tensor([[[0.0]], [[float("nan")]]]), "number 1"),
        (torch.tensor([[[float("inf")]], [[0.0]]]), "1 of 2"),
        ([[0.0]], "floating-point tensor"),
    ],
)
def test_bad_references_are_named(references: object, told: str):
    with pytest.raises(ReferencesError, match=told):
        MemoryReferences(references)  # type: ignore[arg-type]


def test_typical_distance():
    rows = torch.tensor([0.0, 1.0, 3.0]).view(3, 1, 1, 1)
    assert MemoryReferences(rows).typical_distance() in (1.0, 2.0, 3.0)
    assert torch.isnan(torch.tensor(MemoryReferences(rows[:1]).typical_distance()))
