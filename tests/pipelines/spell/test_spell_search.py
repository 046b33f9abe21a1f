"""Exact search of indexed sets, against brute force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_models.spell import (
    spell_coordinates,
    spell_reference_building,
    spell_references,
    spell_rerank,
    spell_residuals,
    spell_scan,
    spell_search,
)
from hub_models.spell.spell_coordinates import fit_coordinates
from hub_models.spell.spell_errors import ReferencesError
from hub_models.spell.spell_index import Index
from hub_models.spell.spell_int8 import prepare, quantise
from hub_models.spell.spell_protected import InsidePairs
from hub_models.spell.spell_references import ReferenceSet
from hub_models.spell.spell_scan import scan

SHAPE = (4, 10, 10)
COUNT = 300
EXTREME = float(np.finfo(np.float16).max)


def planted() -> torch.Tensor:
    """References with a falling spectrum, duplicates, zeros and the extremes of fp16."""
    generator = torch.Generator().manual_seed(0)
    fall = 1 / (1 + torch.arange(10.0))
    rows = torch.randn(COUNT, *SHAPE, generator=generator) * fall[:, None] * fall * 3
    rows[10:20] = rows[20:30]
    rows[30:35] = 0
    rows[35:40] = EXTREME
    rows[40:45] = -EXTREME
    rows[45:50] = EXTREME * rows[50:55].sign()
    rows[50:55] = 6e-8
    return rows


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sets take an index and several shards, chunks and reads too."""
    monkeypatch.setattr(spell_references, "SMALL_BYTES", 0)
    monkeypatch.setattr(spell_coordinates, "LEVELS", (16, 40, 80, 120))
    monkeypatch.setattr(spell_reference_building, "SHARD_BYTES", 64 * 2 * 400)
    monkeypatch.setattr(spell_scan, "TILES", 2)
    monkeypatch.setattr(spell_search, "_BYTES", 37 * 4 * 400)
    monkeypatch.setattr(spell_search, "_PENDING", 50)


@pytest.fixture(params=["numba", "torch"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(spell_scan, "scan_tiles", None)
        monkeypatch.setattr(spell_scan, "refine_pairs", None)
        monkeypatch.setattr(spell_rerank, "pair_squares", None)
        monkeypatch.setattr(spell_rerank, "read_spans", None)
        monkeypatch.setattr(spell_residuals, "head_squares", None)
    else:
        pytest.importorskip("numba")
    return str(request.param)


def found(pairs: Iterator[InsidePairs], stored: torch.Tensor) -> set[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for some in pairs:
        assert torch.equal(some.rows, stored[some.reference])
        result += zip(some.query.tolist(), some.reference.tolist(), strict=True)
    assert len(set(result)) == len(result)
    return set(result)


def brute(queries: torch.Tensor, stored: torch.Tensor, radius: float) -> set[tuple[int, int]]:
    distance = (queries.double()[:, None] - stored.double()[None]).norm(dim=2)
    return {(int(q), int(r)) for q, r in (distance <= radius).nonzero()}


def queries_for(stored: torch.Tensor, radius: float) -> torch.Tensor:
    """Near, far, equal, extreme, and at radius (1 +- 1e-6)."""
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(8, stored.shape[1], generator=generator, dtype=torch.float64)
    direction *= radius / direction.norm(dim=1, keepdim=True)
    edge = [stored[100:108].double() + direction * (1 + s) for s in (-1e-6, 1e-6)]
    rest = [stored[[0, 10, 30, 35, 40, 45, 50]], stored[100:104] * 0.9, torch.zeros(1, stored.shape[1])]
    return torch.cat([*edge, *rest]).float()


@pytest.mark.usefixtures("indexed", "either")
@pytest.mark.parametrize("radius", [1e-3, 2.0, 4.0, 6.0, 20.0, 1e7])
def test_nothing_inside_is_missed(tmp_path: Path, radius: float) -> None:
    rows = planted()
    references = ReferenceSet.build(latents=rows, folder=tmp_path)
    stored = rows.half().float().flatten(1)
    queries = queries_for(stored, radius)
    assert found(references.search().within(queries, radius), stored) == brute(queries, stored, radius)
    assert isinstance(references._searchable, Index)


@pytest.mark.usefixtures("indexed", "either")
def test_the_nearest_is_the_nearest(tmp_path: Path) -> None:
    rows = planted()
    references = ReferenceSet.build(latents=rows, folder=tmp_path)
    stored = rows.half().float().flatten(1)
    queries = queries_for(stored, 3.0)
    number, distance = references.nearest(queries)
    distances = (queries.double()[:, None] - stored.double()[None]).norm(dim=2)
    assert torch.allclose(distance, distances.min(1).values, rtol=1e-12)
    assert torch.allclose(distances.gather(1, number[:, None])[:, 0], distance, rtol=1e-12)


@pytest.mark.usefixtures("indexed", "either")
def test_a_trajectory_reuses_its_anchors_and_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub_models.spell import spell_anchors

    monkeypatch.setattr(spell_anchors, "_LONGEST", 1.0)
    passes = []
    monkeypatch.setattr(spell_anchors, "scan", lambda *a: passes.append(1) or scan(*a))
    rows = planted()
    references = ReferenceSet.build(latents=rows, folder=tmp_path)
    stored = rows.half().float().flatten(1)
    start, end = stored[100:104] * 0, stored[200:204]
    search = references.search()
    for step in range(40):
        queries = end + (start - end) * 0.8**step
        for radius in (2.5, 4.0):
            assert found(search.within(queries, radius), stored) == brute(queries, stored, radius)
    assert 0 < len(passes) < 40
    assert found(search.within(queries[:2], 4.0), stored) == brute(queries[:2], stored, 4.0)  # another batch


@pytest.mark.usefixtures("indexed", "either")
def test_rows_that_were_read_are_seldom_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies outside the coordinates of the index is remembered, and stays a bound while the query moves."""
    monkeypatch.setattr(spell_coordinates, "LEVELS", (8, 16))
    rows = torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(0))
    references = ReferenceSet.build(latents=rows, folder=tmp_path)
    stored = rows.half().float().flatten(1)
    queries, radius = stored[:4] * 0.9, 14.0
    step = torch.randn(4, 400, generator=torch.Generator().manual_seed(1)) * 0.02
    read = []
    read_rows = references._reader.read
    monkeypatch.setattr(
        references._reader, "read", lambda numbers: read.append(len(numbers)) or read_rows(numbers)
    )
    search = references.search()
    reads = []
    for number in range(12):
        here = queries + step * number
        read.clear()
        assert found(search.within(here, radius), stored) == brute(here, stored, radius)
        reads.append(sum(read))
    assert reads[0] > 100
    assert max(reads[1:]) < reads[0] / 4


@pytest.mark.usefixtures("indexed", "either")
def test_a_shard_cut_short_while_it_is_searched_is_named(tmp_path: Path) -> None:
    references = ReferenceSet.build(latents=planted(), folder=tmp_path)
    search = references.search()
    shard = tmp_path / "shard-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(ReferencesError, match=r"shard-00002\.safetensors: was cut short while in use"):
        list(search.within(torch.zeros(1, 400), 1e8))


@pytest.mark.usefixtures("indexed", "either")
def test_removed_and_added_references_are_searched_as_they_are(tmp_path: Path) -> None:
    rows = planted()
    references = ReferenceSet.build(latents=rows, folder=tmp_path)
    stored = rows.half().float().flatten(1)
    queries = stored[100:104] + 0.01
    before = references.search()
    references.prepare()
    references.remove(["100", "35", "299"])
    after = brute(queries, stored, 5.0) - {(q, r) for q in range(4) for r in (100, 35, 299)}
    for opened in (references, ReferenceSet.open(tmp_path)):
        assert found(opened.search().within(queries, 5.0), stored) == after
    assert len(list(before.within(queries, 5.0))) > 0  # what was under way goes on
    references.add(latents=rows[100:101])
    stored = torch.cat([stored, stored[100:101]])
    assert (0, COUNT) in found(references.search().within(queries, 5.0), stored)


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize(
    "file", ["shard-00001.index.safetensors", "index.safetensors", "shard-00001.index.json", "index.json"]
)
@pytest.mark.parametrize("place", [0.5, 0.99])
def test_a_damaged_index_is_made_again(tmp_path: Path, file: str, place: float) -> None:
    """A wrong bound would be a miss."""
    rows = planted()
    references = ReferenceSet.build(latents=rows, folder=tmp_path)
    references.prepare()
    path = tmp_path / file
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0x55
    path.write_bytes(content)
    stored = rows.half().float().flatten(1)
    queries = queries_for(stored, 3.0)
    opened = ReferenceSet.open(tmp_path)
    assert found(opened.search().within(queries, 3.0), stored) == brute(queries, stored, 3.0)


@pytest.mark.usefixtures("indexed", "either")
def test_everything_inside_streams_in_bounded_pieces(tmp_path: Path) -> None:
    rows = planted()
    references = ReferenceSet.build(latents=rows, folder=tmp_path)
    largest = pairs = 0
    for some in references.search().within(torch.zeros(3, 400), 1e8):
        largest = max(largest, len(some.query))
        pairs += len(some.query)
    assert pairs == 3 * COUNT
    assert largest <= 37


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("shape", [(7,), (64,), (70, 3), (3, 5, 7), (2, 3, 5, 4)])
def test_any_sample_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rows = torch.randn(100, *shape, generator=torch.Generator().manual_seed(0))
    references = ReferenceSet.build(latents=rows, folder=tmp_path)
    stored = rows.half().float().flatten(1)
    radius = float(references.typical_distance()) * 0.9
    assert found(references.search().within(stored[:4], radius), stored) == brute(stored[:4], stored, radius)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-6, 1.0, 1e3]),
    query_scale=st.sampled_from([0.0, 1e-3, 1.0, 1e4]),
    offset=st.sampled_from([0.0, 10.0, 3e4]),
)
def test_bounds_hold_for_any_references_and_queries(
    seed: int, scale: float, query_scale: float, offset: float
) -> None:
    """Every level's bound lies below the distance, and the scan keeps what lies at the radius exactly."""
    generator = torch.Generator().manual_seed(seed)
    rows = (torch.randn(64, *SHAPE, generator=generator) * scale + offset).half().float().flatten(1)
    queries = torch.randn(3, 400, generator=generator) * query_scale + offset
    coordinates = fit_coordinates(rows, SHAPE)
    index = Index(coordinates, 64)
    index.put(0, quantise(rows, coordinates), np.empty(0, np.int64))
    distance = (queries.double()[:, None] - rows.double()).norm(dim=2)
    radius = distance.quantile(0.3, dim=1)
    exact = {(int(q), int(r)) for q, r in (distance <= radius[:, None]).nonzero()}
    kept = list(scan(index, prepare(queries, coordinates), radius))
    candidates = {
        (int(q), int(r)) for some in kept for q, r in zip(some.query, index.numbers[some.place], strict=True)
    }
    assert exact <= candidates
    for some in kept:
        assert (
            some.bound <= distance[some.query, index.numbers[some.place]].numpy() * (1 + 1e-9) + 1e-12
        ).all()


def test_coordinates_keep_lengths() -> None:
    rows = planted()[60:].flatten(1)
    coordinates = fit_coordinates(rows, SHAPE)
    values = coordinates.of(rows)
    distance = (rows.double() - rows[0].double()).norm(dim=1)
    assert torch.allclose((values - values[0]).norm(dim=1), distance, rtol=1e-12, atol=1e-12)
    variance = values.var(0)
    assert (variance[:-1] >= variance[1:] - 1e-2).all()
