from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from hub_models.spell import ReferenceSet, attach_spell, calibrate_radius
from hub_models.spell.spell_encoding import vae_latents
from hub_models.spell.spell_errors import ReferencesError, SpellError, SpellWarning
from hub_models.spell.spell_radius import RadiusCalibration
from hub_models.spell.spell_radius_meaning import EDITS
from hub_models.spell.spell_report import encoded_again, report
from hub_models.spell.spell_shield import as_saved

from . import tiny_pipelines as tiny


def run(pipe: Any, **call: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    arguments = {"num_inference_steps": 4, "generator": torch.Generator().manual_seed(0), "output_type": "np"}
    return pipe(**(arguments | call)).images


@pytest.fixture
def pixels() -> Any:
    pipe = tiny.ddpm()
    pipe.scheduler = diffusers.DDIMScheduler(clip_sample=False, prediction_type="sample")
    return pipe


def samples_of(pipe: Any, shape: tuple[int, ...], **call: Any) -> torch.Tensor:
    with attach_spell(pipe, torch.full((1, *shape), 100.0), radius=1.0) as attachment:
        run(pipe, **call)
    return attachment.result


def test_a_report_agrees_with_brute_force_for_samples_and_saved_images(pixels: Any, tmp_path: Path):
    copied = samples_of(pixels, (3, 16, 16), batch_size=2)
    references = torch.cat([as_saved(copied[:1]), torch.full((1, 3, 16, 16), 50.0)])
    attachment = attach_spell(pixels, references, radius=3.0)
    images = run(pixels, batch_size=2)
    told = report(pixels)
    assert told.holds
    assert len(told.images) == 2
    rows = references.flatten(1).double()
    saved = (torch.from_numpy(images).permute(0, 3, 1, 2) * 255).round() / 127.5 - 1
    for image, result, picture in zip(told.images, attachment.result, saved, strict=True):
        distance = (result.flatten().double() - rows).norm(dim=1)
        assert image.distance == pytest.approx(float(distance.min()), rel=1e-6)
        assert image.nearest == int(distance.argmin())
        decoded = (picture.flatten().double() - rows).norm(dim=1).min()
        assert image.decoded_distance == pytest.approx(float(decoded), rel=1e-5)
        assert image.decoded_distance >= 3
    assert told.images[0].active_steps > 0
    assert told.images[0].strongest > 0
    assert "0 of 2 samples inside" in str(told)
    attachment.record.picture(tmp_path / "record.png")
    assert (tmp_path / "record.png").stat().st_size > 1000


def test_a_leak_is_reported_as_one(pixels: Any):
    copied = samples_of(pixels, (3, 16, 16), batch_size=1)
    attach_spell(pixels, copied, radius=5.0, strength=0.01)
    run(pixels, batch_size=1)
    told = report(pixels)
    assert not told.holds
    assert told.images[0].inside
    assert "1 of 1 samples inside" in str(told)


@pytest.mark.parametrize("family", ["stable_diffusion", "flux", "dit"])
def test_latents_are_decoded_and_encoded_as_the_model_does(family: str):
    pipe = getattr(tiny, family)()
    call = {"class_labels": [1]} if family == "dit" else {"prompt": "a", "height": 16, "width": 16}
    shape = (16, 16) if family == "flux" else (4, 8, 8)
    images = run(pipe, **call)
    samples = samples_of(pipe, shape, **call)[:1]
    again = encoded_again(pipe, samples)
    picture = torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1
    expected = vae_latents(pipe.vae, as_saved(picture))
    if family == "flux":
        expected = pipe._pack_latents(expected, *expected.shape)
    assert again.shape == (1, *shape)
    assert torch.allclose(again, expected, atol=0.1)


def test_without_a_vae_only_the_samples_are_measured():
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    attach_spell(scheduler, torch.zeros(1, 4, 2, 2), radius=0.5)
    with pytest.raises(SpellError, match="no generation has finished"):
        report(scheduler)
    scheduler.set_timesteps(2)
    sample = torch.ones(1, 4, 2, 2)
    for timestep in scheduler.timesteps:
        sample = scheduler.step(sample, timestep, sample).prev_sample
    told = report(scheduler)
    assert told.images[0].decoded_distance is None
    assert told.holds


def test_what_cannot_be_reported_is_named(pixels: Any):
    with pytest.raises(SpellError, match="no shield"):
        report(pixels)
    attach_spell(pixels, radius=1.0, intra_batch=True)
    with pytest.raises(SpellError, match="no references"):
        report(pixels)


def test_calibration_gives_the_quantile_of_unshielded_samples(pixels: Any, tmp_path: Path):
    pixels.set_progress_bar_config(disable=True)
    references = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    scheduler = pixels.scheduler
    found = calibrate_radius(pixels, references, 0.5, samples=5, batch_size=2, num_inference_steps=2)
    assert pixels.scheduler is scheduler
    assert len(found.distances) == 5
    assert float((found.distances < found.radius).double().mean()) == pytest.approx(0.4)
    assert 0 < found.rho == found.radius / found.typical
    assert "rho" in str(found)
    assert found.meaning.radius == found.radius
    assert {copy.name for copy in found.meaning.copies} == set(EDITS), "measured on the references themselves"
    again = calibrate_radius(pixels, references, 0.5, samples=5, batch_size=2, num_inference_steps=2)
    assert again.radius == found.radius
    found.picture(tmp_path / "radius.png")
    assert (tmp_path / "radius.png").stat().st_size > 1000


def test_calibration_of_a_latent_model_measures_copies_of_the_images_given(tmp_path: Path):
    pipe = tiny.stable_diffusion()
    pipe.set_progress_bar_config(disable=True)
    images = [torch.rand(3, 16, 16) * 2 - 1 for _ in range(3)]
    references = ReferenceSet.build(images, folder=tmp_path, vae=pipe.vae)
    call = {"prompt": "a", "height": 16, "width": 16, "num_inference_steps": 1, "samples": 2}
    wide = "reaches the median distance"  # random networks make no images
    with pytest.warns(SpellWarning, match=wide):
        without = calibrate_radius(pipe, references, 0.5, **call)
    assert without.meaning.copies == ()
    with pytest.warns(SpellWarning, match=wide):
        found = calibrate_radius(pipe, references, 0.5, images=images, **call)
    assert {copy.name for copy in found.meaning.copies} == set(EDITS)


def test_calibration_warns_where_nothing_would_be_left(pixels: Any):
    pixels.set_progress_bar_config(disable=True)
    crowded = 5 + 1e-3 * torch.randn(4, 3, 16, 16)
    with pytest.warns(SpellWarning, match="smaller quantile"):
        calibrate_radius(pixels, crowded, samples=2, batch_size=2, num_inference_steps=1)


@pytest.mark.parametrize(
    ("arguments", "told"), [({"quantile": 0.0}, "quantile"), ({"samples": 1}, "samples")]
)
def test_bad_calibrations_are_named(pixels: Any, arguments: dict[str, Any], told: str):
    with pytest.raises(SpellError, match=told):
        calibrate_radius(pixels, torch.zeros(2, 3, 16, 16), **arguments)


def test_calibration_against_another_shape_is_named(pixels: Any):
    pixels.set_progress_bar_config(disable=True)
    with pytest.raises(ReferencesError, match="samples"):
        calibrate_radius(pixels, torch.zeros(2, 4, 8, 8), samples=2, num_inference_steps=1, batch_size=2)


def test_a_radius_survives_one_reference():
    found = RadiusCalibration(1.0, 0.1, torch.tensor([1.0, 2.0]), float("nan"))
    assert "radius 1" in str(found)
