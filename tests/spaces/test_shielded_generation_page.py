from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from comparison_page import comparison_page, diversity_page
from PIL import Image, ImageOps
from studio import MODELS, SIDE, Studio, as_digit, as_pixels, as_sample
from text_studio import MODEL, TextStudio
from twice import Comparison, Outcome

from hub_models.errors import CheckpointError
from hub_models.generation.digits import load_digits
from hub_models.spell.spell_errors import SpellError

from ..pipelines.spell import tiny_pipelines

BY_HEART = next(iter(MODELS))


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


def outcome(distance: float) -> Outcome:
    grey = np.zeros((32, 32), np.uint8)
    return Outcome(grey, grey, "<b>name</b>", distance)


def test_a_copy_is_kept_away_from(studio: Studio):
    told: list[float] = []
    radius = studio.usual_radius(BY_HEART)
    done = studio.compare(
        BY_HEART, "3", 0, studio.training(BY_HEART), radius, lambda share, words: told.append(share)
    )
    assert done.plain.distance < radius <= done.shielded.distance
    assert any(done.acted)
    assert told == sorted(told)
    assert told[-1] == 1


def test_two_visitors_do_not_meet(studio: Studio):
    """Each request has a pipeline of its own over shared weights."""
    own = studio.training(BY_HEART, "3")
    first = studio.compare(BY_HEART, "3", 1, own, 7.0)
    studio.diversity(BY_HEART, "5", 0, 9.0, 2, lambda share, words: None)
    again = studio.compare(BY_HEART, "3", 1, own, 7.0)
    assert np.array_equal(first.plain.image, again.plain.image)
    assert np.array_equal(first.shielded.image, again.shielded.image)


@pytest.mark.parametrize("radius", [0.0, -1.0, float("nan")])
def test_a_bad_radius_is_refused(studio: Studio, radius: float):
    with pytest.raises(SpellError, match="radius"):
        studio.compare(BY_HEART, "3", 0, studio.training(BY_HEART), radius)


def test_a_picture_of_a_training_digit_is_that_digit_however_it_was_scanned(tmp_path: Path):
    digits = load_digits("train")
    picture = Image.fromarray(digits.pixels[0, 0].numpy())
    for image in (picture, ImageOps.invert(picture), picture.resize((96, 96), Image.Resampling.NEAREST)):
        assert torch.dist(as_sample(image.convert("RGB")), digits.samples()[0]) < 2
    assert np.array_equal(as_pixels(digits.samples()[0]), digits.pixels[0, 0].numpy())


def test_a_drawing_is_brought_to_the_size_and_place_of_digits(studio: Studio):
    digits = load_digits("train").samples()
    digit = digits[1]
    ink = ImageOps.invert(Image.fromarray(as_pixels(digit))).resize((96, 96), Image.Resampling.BICUBIC)
    sheet = Image.new("RGBA", (280, 280))  # nothing, as a sketchpad begins
    sheet.paste(ink.convert("RGBA"), (150, 20))
    drawn = studio.drawn(sheet)
    assert drawn.samples.shape == (1, 1, SIDE, SIDE)
    assert drawn.names == ["my drawing"]
    distance = torch.cdist(drawn.samples.flatten(1), digits.flatten(1))
    assert distance.argmin() == 1
    assert distance.min() < 4
    for blank in (None, Image.new("RGBA", (280, 280)), Image.new("RGB", (280, 280), "white")):
        with pytest.raises(ValueError, match="draw a digit first"):
            as_digit(blank)


@pytest.mark.parametrize("family", ["stable_diffusion", "flux"])
def test_a_text_to_image_model_is_shielded_from_uploads(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("text_studio.STEPS", 3)
    getattr(tiny_pipelines, family)().save_pretrained(tmp_path / "model")
    Image.effect_noise((40, 60), 50).convert("RGB").save(tmp_path / "mine.png")
    studio = TextStudio(str(tmp_path / "model"))
    own = studio.uploaded([tmp_path / "mine.png"])
    first = studio.compare("a cat", 0, own, 0.01, lambda share, words: None)
    radius = 1.2 * first.plain.distance
    done = studio.compare("a cat", 0, own, radius, lambda share, words: None)
    assert np.array_equal(done.plain.image, first.plain.image)
    assert done.plain.distance < radius <= done.shielded.distance
    assert done.plain.image.shape == done.plain.nearest.shape == (studio.side, studio.side, 3)
    assert done.plain.nearest_name == "mine.png"
    assert any(done.acted)
    assert "a cat" in comparison_page(done).lower()
    with pytest.raises(ValueError, match="what the image should show"):
        studio.compare(" ", 0, own, radius, lambda share, words: None)
    with pytest.raises(ValueError, match="upload between"):
        studio.uploaded([])


def test_a_model_that_cannot_be_had_or_makes_no_images_of_text_is_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=rf"{MODEL}=no-such/model: its weights cannot be had"):
        TextStudio("no-such/model")
    tiny_pipelines.ddpm().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="a DDPMPipeline, not a text-to-image pipeline"):
        TextStudio(str(tmp_path))


def test_the_page_escapes_names_and_tells_inside_from_outside():
    page = comparison_page(Comparison("digit 3", 0, 5.0, 1, outcome(2.0), outcome(6.0), (True, False), 0.25))
    assert "<b>name</b>" not in page
    assert page.index("inside</strong>") < page.index("outside</strong>")
    assert "1 of 2 steps" in page


def test_the_grid_tells_how_far_apart_images_are():
    images = [np.full((2, 2), value, np.uint8) for value in (0, 255)]
    assert "<strong>4.00</strong>" in diversity_page(images, images, 1.0)
