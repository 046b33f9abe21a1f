from __future__ import annotations

import copy
import gc
import inspect
import json
import threading
import warnings
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from hub_models.spell import attach_spell, detach_spell
from hub_models.spell.spell_attachment import attached
from hub_models.spell.spell_errors import (
    ConcurrentUseError,
    ReferencesError,
    SpellError,
    SpellWarning,
    UnsupportedSchedulerError,
)

from . import tiny_pipelines as tiny

FAR = torch.full((1, 3, 16, 16), 100.0)


def run(pipe: Any, seed: int = 0, batch: int = 2, **call: Any) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    arguments = {"batch_size": batch, "num_inference_steps": 4, "output_type": "np"} | call
    return pipe(generator=torch.Generator().manual_seed(seed), **arguments).images


@pytest.fixture
def pipe() -> Any:
    pipe = tiny.ddpm()
    pipe.scheduler = diffusers.DDIMScheduler(clip_sample=False, prediction_type="sample")
    return pipe


def generated(pipe: Any, seed: int = 0, batch: int = 2) -> torch.Tensor:
    """Finished samples of a run that nothing keeps away from."""
    with attach_spell(pipe, FAR, radius=1.0) as attachment:
        run(pipe, seed, batch)
    return attachment.result


def test_far_references_change_no_bit(pipe: Any):
    plain = run(pipe)
    attach_spell(pipe, FAR, radius=1.0)
    assert np.array_equal(plain, run(pipe))


def test_only_the_image_inside_is_touched(pipe: Any):
    plain, samples = run(pipe), generated(pipe)
    attachment = attach_spell(pipe, samples[:1], radius=2.0)
    shielded = run(pipe)
    assert not np.array_equal(plain[0], shielded[0])
    assert np.array_equal(plain[1], shielded[1])
    assert float((attachment.result[0] - samples[0]).norm()) >= 2
    assert attachment.record.active_steps[1] == 0


def test_the_window_is_kept_to(pipe: Any):
    samples = generated(pipe)
    attachment = attach_spell(pipe, samples, radius=4.0, start=0.5, stop=0.75)
    run(pipe)
    acted = [bool((step.balls > 0).any()) for step in attachment.record.steps]
    assert acted[:2] == [False, False]
    assert not acted[3]


def test_a_second_shield_replaces_the_first_and_detaching_twice_is_harmless(pipe: Any):
    scheduler, plain, samples = pipe.scheduler, run(pipe), generated(pipe)
    attach_spell(pipe, samples, radius=2.0)
    second = attach_spell(pipe, FAR, radius=1.0)
    assert attached(pipe) is second
    assert np.array_equal(plain, run(pipe))
    detach_spell(pipe)
    detach_spell(pipe)
    assert pipe.scheduler is scheduler
    with pytest.raises(SpellError, match="attach_spell"):
        attached(pipe)


def test_saving_signatures_and_types_are_those_of_the_stock_scheduler(pipe: Any, tmp_path: Path):
    def saved(folder: Path) -> dict[str, str]:
        pipe.save_pretrained(folder)
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.json"))}

    before, step, reset = (
        saved(tmp_path / "before"),
        inspect.signature(pipe.scheduler.step),
        inspect.signature(pipe.scheduler.set_timesteps),
    )
    attach_spell(pipe, FAR, radius=1.0)
    assert saved(tmp_path / "after") == before
    assert json.loads(before["model_index.json"])["scheduler"] == ["diffusers", "DDIMScheduler"]
    assert inspect.signature(pipe.scheduler.step) == step
    assert inspect.signature(pipe.scheduler.set_timesteps) == reset
    assert isinstance(pipe.scheduler, diffusers.DDIMScheduler)
    assert "DDIMScheduler" in repr(type(pipe.scheduler))


def test_an_exchanged_scheduler_is_warned_about(pipe: Any):
    attach_spell(pipe, FAR, radius=1.0)
    with pytest.warns(SpellWarning, match="has no shield"):
        pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    attach_spell(pipe, FAR, radius=1.0)


def test_no_warning_where_nothing_is_lost(pipe: Any):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attach_spell(pipe, FAR, radius=1.0)
        attach_spell(pipe, FAR, radius=2.0)
        detach_spell(pipe)
        attach_spell(pipe, FAR, radius=1.0)
        del pipe
        gc.collect()


def test_a_scheduler_made_from_the_shielded_class_does_not_pass_for_one(pipe: Any):
    attach_spell(pipe, FAR, radius=1.0)
    naked = type(pipe.scheduler).from_config(pipe.scheduler.config)
    with pytest.raises(SpellError, match="has no shield"):
        naked.set_timesteps(4)
    with pytest.raises(SpellError, match="cannot be copied"):
        copy.deepcopy(pipe.scheduler)


def test_pipelines_that_share_modules_have_shields_of_their_own(pipe: Any):
    plain, samples = run(pipe), generated(pipe)
    other = type(pipe).from_pipe(pipe)
    attach_spell(other, samples, radius=2.0)
    assert np.array_equal(plain, run(pipe))
    assert not np.array_equal(plain, run(other))
    third = type(pipe).from_pipe(other)  # shares the shielded scheduler
    detach_spell(third)
    assert not np.array_equal(plain, run(other))
    attach_spell(third, FAR, radius=1.0)
    assert np.array_equal(plain, run(third))
    assert not np.array_equal(plain, run(other))


def test_threads_with_pipelines_of_their_own_do_not_interfere(pipe: Any):
    samples = generated(pipe)
    pipes = [pipe, type(pipe).from_pipe(pipe)]
    for one, radius in zip(pipes, (2.0, 3.0), strict=True):
        attach_spell(one, samples, radius=radius)
    alone = [run(one) for one in pipes]
    together: dict[int, np.ndarray] = {}
    threads = [threading.Thread(target=lambda i=i: together.update({i: run(pipes[i])})) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(alone[i], together[i]) for i in (0, 1))


def test_one_of_two_calls_on_one_scheduler_is_refused(pipe: Any):
    attach_spell(pipe, FAR, radius=1.0)
    scheduler, sample = pipe.scheduler, torch.zeros(1, 3, 16, 16)
    scheduler.set_timesteps(4)
    scheduler.step(sample, scheduler.timesteps[0], sample)
    intruder = threading.Thread(target=scheduler.set_timesteps, args=(4,))
    intruder.start()
    intruder.join()
    with pytest.raises(ConcurrentUseError, match="from_pipe"):
        scheduler.step(sample, scheduler.timesteps[1], sample)
    scheduler.set_timesteps(4)  # a new call is welcome
    scheduler.step(sample, scheduler.timesteps[0], sample)


def test_a_call_that_was_cut_off_does_not_block_the_next(pipe: Any):
    attach_spell(pipe, FAR, radius=1.0)
    whole = run(pipe)
    pipe.scheduler.set_timesteps(4)
    pipe.scheduler.step(torch.zeros(1, 3, 16, 16), pipe.scheduler.timesteps[0], torch.zeros(1, 3, 16, 16))
    assert np.array_equal(whole, run(pipe))


def test_images_of_a_batch_keep_apart_and_from_earlier_batches(pipe: Any):
    samples = generated(pipe, batch=3)
    radius = 1.2 * float(torch.pdist(samples.flatten(1)).max())
    with attach_spell(pipe, radius=radius, intra_batch=True) as attachment:
        run(pipe, batch=3)
    assert torch.pdist(attachment.result.flatten(1)).min() > torch.pdist(samples.flatten(1)).min()

    attachment = attach_spell(pipe, radius=3.0, remember=True)
    run(pipe)
    first = attachment.result
    run(pipe)  # the same seeds
    assert (torch.cdist(attachment.result.flatten(1), first.flatten(1)) >= 3 * (1 - 1e-4)).all()
    assert len(attachment.remembered) == 4
    attachment.forget()
    run(pipe)
    assert torch.allclose(attachment.result, first, atol=1e-5)


def test_equal_seeds_stay_equal_and_are_told_of(pipe: Any):
    noise = torch.randn(1, 3, 16, 16)
    attach_spell(pipe, radius=50.0, intra_batch=True)
    scheduler = pipe.scheduler
    scheduler.set_timesteps(2)
    with pytest.warns(SpellWarning, match="equal noise"):
        out = scheduler.step(
            noise.repeat(3, 1, 1, 1), scheduler.timesteps[0], noise.repeat(3, 1, 1, 1)
        ).prev_sample
    assert out.isfinite().all()
    assert torch.equal(out[0], out[1])


def test_one_image_has_nobody_to_keep_apart_from(pipe: Any):
    plain = run(pipe, batch=1)
    attach_spell(pipe, radius=5.0, intra_batch=True)
    with pytest.warns(SpellWarning, match="this batch has one"):
        assert np.array_equal(run(pipe, batch=1), plain)


def test_doubled_guidance_halves_are_one_batch():
    pipe = tiny.dit()
    call = {"class_labels": [1, 2], "num_inference_steps": 4, "guidance_scale": 3.0, "output_type": "np"}
    pipe.set_progress_bar_config(disable=True)
    with attach_spell(pipe, torch.full((1, 4, 8, 8), 100.0), radius=1.0) as attachment:
        pipe(generator=torch.Generator().manual_seed(0), **call)
    radius = 1.5 * float((attachment.result[0] - attachment.result[1]).norm())
    for groups in (None, [0, 0]):
        with attach_spell(pipe, radius=radius, intra_batch=True, groups=groups) as kept:
            images = pipe(generator=torch.Generator().manual_seed(0), **call).images
        assert np.isfinite(images).all()
        first, second = kept.result[0], kept.result[1]
        assert torch.equal(kept.result[:2], kept.result[2:])
        assert (first - second).norm() > (attachment.result[0] - attachment.result[1]).norm()


def test_offload_lora_and_callbacks_work_under_a_shield():
    pipe = tiny.stable_diffusion()
    pipe.set_progress_bar_config(disable=True)
    seen: list[int] = []

    def callback(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append(step)
        return tensors

    def images() -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        return pipe(
            "a b",
            num_inference_steps=3,
            generator=generator,
            output_type="np",
            callback_on_step_end=callback,
            height=16,
            width=16,
        ).images

    from peft import LoraConfig

    attach_spell(pipe, torch.full((1, 4, 8, 8), 100.0), radius=1.0)
    before = images()
    torch.manual_seed(0)
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    with_adapter = images()
    assert not np.array_equal(before, with_adapter)
    detach_spell(pipe)
    assert np.array_equal(images(), with_adapter)
    assert seen == [0, 1, 2] * 3
    if torch.cuda.is_available():
        attach_spell(pipe, torch.full((1, 4, 8, 8), 100.0), radius=1.0)
        pipe.enable_model_cpu_offload()
        assert np.isfinite(images()).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_results_lie_outside_as_they_are_stored(dtype: torch.dtype):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    centre = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    attachment = attach_spell(scheduler, centre, radius=5.0)
    scheduler.set_timesteps(5)
    sample = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    for index, timestep in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[index]
        velocity = ((sample.float() - centre) / sigma).to(dtype)  # straight to the reference
        sample = scheduler.step(velocity, timestep, sample).prev_sample
        assert sample.dtype == dtype
    distance = (sample.double() - centre.double()).flatten(1).norm(dim=1)
    assert (distance >= 5).all()
    assert (distance < 9).all()
    assert (attachment.record.active_steps > 0).all()


def test_what_is_not_finite_is_not_let_through(pipe: Any):
    attach_spell(pipe, FAR, radius=1.0)
    pipe.scheduler.set_timesteps(2)
    output = torch.zeros(1, 3, 16, 16, dtype=torch.float16)
    output[0, 0, 0, 0] = float("inf")
    with pytest.raises(SpellError, match="not finite"):
        pipe.scheduler.step(output, pipe.scheduler.timesteps[0], torch.zeros_like(output))


def test_a_push_too_large_for_half_precision_is_refused():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    attach_spell(scheduler, torch.zeros(1, 1, 2, 2), radius=1e6)
    scheduler.set_timesteps(2)
    sample = torch.ones(1, 1, 2, 2, dtype=torch.float16)
    with pytest.raises(SpellError, match="float32 or bfloat16"):
        scheduler.step(sample, scheduler.timesteps[0], sample)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"radius": -1.0}, "radius"),
        ({"radius": 0.0}, "radius"),
        ({"radius": float("nan")}, "radius"),
        ({"radius": None}, "calibrate_radius"),
        ({"overcompensation": 0.5}, "overcompensation"),
        ({"strength": 0.0}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"start": 0.5, "stop": 0.5}, "start and stop"),
        ({"stop": 1.5}, "start and stop"),
        ({"references": None}, "nothing to keep away from"),
        ({"references": torch.zeros(0, 3, 16, 16)}, "nothing to protect"),
        ({"references": torch.full((1, 3, 16, 16), float("nan"))}, "not finite"),
    ],
)
def test_bad_settings_are_named_and_leave_no_trace(pipe: Any, arguments: dict[str, Any], told: str):
    scheduler = pipe.scheduler
    with pytest.raises(SpellError, match=told):
        attach_spell(pipe, **({"references": FAR, "radius": 1.0} | arguments))
    assert pipe.scheduler is scheduler


def test_a_wide_radius_is_warned_about_with_the_numbers(pipe: Any):
    references = torch.randn(8, 3, 16, 16)
    with pytest.warns(
        SpellWarning, match=r"radius 60 reaches the median distance of two references, 3\d\.\d"
    ):
        attach_spell(pipe, references, radius=60.0)


def test_references_of_another_shape_are_named(pipe: Any):
    attach_spell(pipe, torch.zeros(2, 4, 8, 8), radius=1e-3)
    with pytest.raises((ReferencesError, SpellError), match=r"\(4, 8, 8\).*\(3, 16, 16\)"):
        run(pipe)


def test_groups_that_do_not_fit_the_batch_are_named(pipe: Any):
    attach_spell(pipe, radius=1.0, intra_batch=True, groups=[0, 0, 0])
    with pytest.raises(SpellError, match="3 images, but the batch has 2"):
        run(pipe)


def test_what_has_no_scheduler_is_named():
    with pytest.raises(SpellError, match="neither"):
        attach_spell(torch.nn.Linear(1, 1), FAR, radius=1.0)
    with pytest.raises(UnsupportedSchedulerError, match="step_pred"):
        attach_spell(diffusers.ScoreSdeVeScheduler(), FAR, radius=1.0)


def test_under_autocast_the_shield_holds_too(pipe: Any):
    samples = generated(pipe)
    attachment = attach_spell(pipe, samples, radius=2.0)
    with torch.autocast("cpu", torch.bfloat16):
        run(pipe)
    assert (torch.cdist(attachment.result.flatten(1).double(), samples.flatten(1).double()) >= 2).all()
    assert (attachment.record.active_steps > 0).any()
