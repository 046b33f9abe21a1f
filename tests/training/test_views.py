from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, ViTImageProcessor

from hub_models.training.views import (
    ViewMaker,
    Views,
    add_noise,
    blur,
    centre_crop,
    degrade,
    jpeg,
    lower_resolution,
)

from ..generated_images import draw_image

PROCESSOR = CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
VIEWS = Views(crops=3, degraded=3, centre_crops=2, seed=5)
PHOTO = draw_image(0, side=120)
DIGEST = hashlib.sha256(b"photo").hexdigest()
DEGRADATIONS = [centre_crop, blur, add_noise, lower_resolution, jpeg]


def all_views(views: Views = VIEWS, image: Image.Image = PHOTO, digest: str = DIGEST) -> list[torch.Tensor]:
    maker = ViewMaker(PROCESSOR, views)
    return [maker.make(image, digest, view) for view in range(views.count)]


def test_kinds_come_in_order_and_are_counted() -> None:
    assert VIEWS.kinds == ["full", *["crop"] * 3, *["degraded"] * 3, *["centre_crop"] * 2]
    assert VIEWS.count == 9
    assert Views().kinds == ["full"]


@pytest.mark.parametrize("field", ["crops", "degraded", "centre_crops"])
def test_a_negative_number_of_views_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        Views(**{field: -1})


@pytest.mark.parametrize(
    "processor", [PROCESSOR, ViTImageProcessor(size={"height": 32, "width": 48})], ids=["crop", "squash"]
)
def test_every_view_has_the_models_input_shape(processor: CLIPImageProcessor) -> None:
    maker = ViewMaker(processor, VIEWS)
    for image in (PHOTO, draw_image(3, side=9), Image.new("RGB", (300, 20)), Image.new("RGB", (4, 5))):
        for view in range(VIEWS.count):
            made = maker.make(image, DIGEST, view)
            assert made.shape == (3, *maker.size)
            assert made.dtype == torch.float32
            assert torch.isfinite(made).all()


def test_the_full_view_is_the_processors() -> None:
    expected = PROCESSOR(PHOTO, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(all_views()[0], expected)


def test_crops_and_full_views_share_one_normalisation() -> None:
    """A grey image has the same value in every view whatever its crop; only the colour jitter moves it."""
    grey = Image.new("RGB", (100, 100), (128, 128, 128))
    full, *crops = all_views(Views(crops=8), grey)
    value = full.mean(dim=(1, 2))
    white, black = (torch.tensor(PROCESSOR.image_mean), torch.tensor(PROCESSOR.image_std))
    torch.testing.assert_close(value, (128 / 255 - white) / black, rtol=1e-5, atol=1e-5)
    for crop in crops:
        level = (crop.mean(dim=(1, 2)) * black + white) * 255
        assert ((level > 128 * 0.55) & (level < 128 * 1.45)).all()


def test_the_same_image_gives_the_same_views_in_any_order_and_between_other_draws() -> None:
    first = all_views()
    maker = ViewMaker(PROCESSOR, VIEWS)
    torch.manual_seed(99)
    for view in reversed(range(VIEWS.count)):
        maker.make(draw_image(7), "00", view)
        torch.rand(3)
        assert torch.equal(maker.make(PHOTO, DIGEST, view), first[view])


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    all_views()
    assert torch.equal(torch.rand(4), expected)


def test_every_view_image_and_seed_has_its_own_draw() -> None:
    views = all_views()
    others = all_views(Views(crops=3, degraded=3, centre_crops=2, seed=6))
    other_image = all_views(digest=hashlib.sha256(b"other").hexdigest())
    assert torch.equal(views[0], others[0])
    for i in range(1, VIEWS.count):
        assert not torch.equal(views[i], others[i])
        assert not torch.equal(views[i], other_image[i])
        assert not any(torch.equal(views[i], views[j]) for j in range(i))


def test_more_views_do_not_change_those_before() -> None:
    few, many = all_views(Views(crops=2, seed=5)), all_views(Views(crops=6, seed=5))
    assert all(torch.equal(left, right) for left, right in zip(few, many, strict=False))


@pytest.mark.parametrize("degradation", DEGRADATIONS)
@pytest.mark.parametrize("severity", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [(120, 90), (5, 4), (4, 300)])
def test_a_degradation_keeps_size_and_mode(degradation, severity: float, size: tuple[int, int]) -> None:
    image = PHOTO.resize(size)
    degraded = degradation(image, severity)
    assert (degraded.size, degraded.mode) == (size, "RGB")


@pytest.mark.parametrize("degradation", [blur, add_noise, lower_resolution, jpeg])
def test_a_degradation_loses_more_at_a_higher_severity(degradation) -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8))

    def lost(severity: float) -> float:
        torch.manual_seed(0)
        difference = np.asarray(degradation(photo, severity), float) - np.asarray(photo, float)
        return float(np.abs(difference).mean())

    assert 0 < lost(0.0) < lost(0.5) < lost(1.0)


@pytest.mark.parametrize(("severity", "side"), [(0.0, 75), (0.5, 42), (1.0, 10)])
def test_a_centre_crop_keeps_the_middle(severity: float, side: int) -> None:
    pixels = np.zeros((100, 100, 3), dtype=np.uint8)
    edge = (100 - side) // 2
    pixels[edge : edge + side, edge : edge + side] = 255
    assert (np.asarray(centre_crop(Image.fromarray(pixels), severity)) == 255).all()
    pixels[edge, edge] = 0
    assert (np.asarray(centre_crop(Image.fromarray(pixels), severity))[0, 0] < 255).all()


def test_a_centre_crop_of_a_tiny_image_adds_no_border() -> None:
    assert (np.asarray(centre_crop(Image.new("RGB", (5, 6), "white"), 1.0)) == 255).all()


def test_noise_has_the_strength_that_is_documented() -> None:
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    for severity, levels in ((0.0, 10), (0.25, 30)):
        torch.manual_seed(0)
        noise = np.asarray(add_noise(grey, severity), float) - 128
        assert noise.std() == pytest.approx(levels, rel=0.03)
        assert abs(noise.mean()) < 1


def test_low_resolution_leaves_no_detail_below_its_pixels() -> None:
    stripes = np.zeros((160, 160, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    flat = np.asarray(lower_resolution(Image.fromarray(stripes), 1.0), float)
    assert flat.std() < 5


def test_jpeg_quality_falls_from_30_to_3() -> None:
    for severity, quality in ((0.0, 30), (1.0, 3)):
        buffer = io.BytesIO()
        PHOTO.save(buffer, "JPEG", quality=quality)
        expected = np.asarray(Image.open(buffer).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(jpeg(PHOTO, severity)), expected)


def test_degrade_draws_every_kind() -> None:
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        made = degrade(PHOTO)
        torch.manual_seed(seed)
        severity = float(torch.rand(()))
        kind = DEGRADATIONS[int(torch.randint(len(DEGRADATIONS), ()))]
        assert np.array_equal(np.asarray(made), np.asarray(kind(PHOTO, severity)))
        seen.add(kind.__name__)
    assert len(seen) == len(DEGRADATIONS)
