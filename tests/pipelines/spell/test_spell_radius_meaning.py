"""What a radius means, and what an approximate search misses."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from hub_models.spell.spell_approximate import ApproximateReferences
from hub_models.spell.spell_errors import ReferencesError, SpellWarning
from hub_models.spell.spell_radius_meaning import EDITS, describe_radius
from hub_models.spell.spell_references import ReferenceSet


def smooth_images(count: int, channels: int = 3) -> torch.Tensor:
    coarse = torch.rand(count, channels, 5, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(-1, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_copies_are_measured_on_the_images(tmp_path: Path, channels: int) -> None:
    images = smooth_images(12, channels)
    references = ReferenceSet.build(images, folder=tmp_path)
    typical = references.typical_distance()
    meaning = describe_radius(references, 0.3 * typical, images)
    assert meaning.rho == pytest.approx(0.3)
    caught = {copy.name: copy.caught for copy in meaning.copies}
    assert caught.keys() == EDITS.keys()
    assert caught["JPEG 75"] == 1
    assert caught["flip"] == 0
    medians = {copy.name: copy.median for copy in meaning.copies}
    assert medians["shift by 1 pixel"] < medians["shift by 4 pixels"]
    assert medians["crop 3 %"] < medians["crop 10 %"]
    flips = (images - images.flip(-1)).flatten(1).norm(dim=1)
    assert medians["flip"] == pytest.approx(float(flips.median()), rel=1e-4)
    assert "flip=True" in str(meaning)


def test_predicted_active_references_are_counted(tmp_path: Path) -> None:
    latents = torch.randn(300, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    references = ReferenceSet.build(latents=latents, folder=tmp_path)
    stored = latents.half().double().flatten(1)
    for radius in (7.5, 9.0):
        early, late = describe_radius(references, radius).active
        assert early == int(((stored - stored.mean(0)).norm(dim=1) <= radius).sum())
        some = stored[:: 300 // 64][:64]
        inside = (some[:, None] - stored).norm(dim=2) <= radius
        assert late == pytest.approx(inside.sum().item() / 64 - 1)


def test_views_of_the_set_count_as_references_of_their_image(tmp_path: Path) -> None:
    images = smooth_images(6)
    references = ReferenceSet.build(images, folder=tmp_path, flip=True, crops=(0.1,))
    caught = {copy.name: copy.caught for copy in describe_radius(references, 0.1).copies}  # of its own images
    assert caught["flip"] == 1
    assert caught["crop 10 %"] == 1
    assert caught["crop 3 %"] == 0


def test_a_tensor_of_references_has_the_meaning_of_a_set_of_them(tmp_path: Path) -> None:
    images = smooth_images(8).half().float()
    of_set = describe_radius(ReferenceSet.build(images, folder=tmp_path), 9.0)
    of_tensor = describe_radius(images, 9.0, images)
    assert of_tensor.active == of_set.active
    assert of_tensor.copies == of_set.copies
    with pytest.raises(ReferencesError, match="on a set"):
        describe_radius(torch.randn(3, 16, 8), 1.0, images)


def test_one_reference_has_no_typical_distance() -> None:
    told = str(describe_radius(smooth_images(1), 2.0))
    assert told.startswith("radius 2\n")
    assert "was not measured" in told


def test_what_has_no_meaning_is_refused(tmp_path: Path) -> None:
    references = ReferenceSet.build(latents=torch.randn(5, 3, 8, 8), folder=tmp_path)
    for radius in (0.0, -1.0, float("nan")):
        with pytest.raises(ReferencesError, match="positive"):
            describe_radius(references, radius)
    with pytest.raises(ReferencesError, match="given latents"):
        describe_radius(references, 1.0, smooth_images(2))


def test_an_approximate_search_tells_its_recall_and_finds_nothing_false(tmp_path: Path) -> None:
    latents = torch.randn(2000, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    references = ReferenceSet.build(latents=latents, folder=tmp_path)
    references.remove(["0"])
    queries = latents[:5].flatten(1)
    few, all_cells = (ApproximateReferences(references, cells=20, probes=probes) for probes in (1, 20))
    with pytest.warns(SpellWarning, match=r"recall 0\.\d+; every other one is unprotected"):
        assert 0 < few.recall(queries, 9.0) < 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpellWarning)
        assert all_cells.recall(queries, 9.0) == 1
    stored = latents.half().float().flatten(1)
    for pairs in few.search().within(queries, 9.0):
        assert (pairs.distance <= 9.0).all()
        assert (pairs.reference > 0).all()
        assert torch.equal(pairs.rows, stored[pairs.reference])
    assert torch.equal(few.nearest(queries)[0], references.nearest(queries)[0])
