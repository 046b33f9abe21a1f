from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline

import hub_models.spell
from hub_models.published_code import closure, relative_imports
from hub_models.spell import ReferenceSet, attach_spell, detach_spell, report
from hub_models.spell.spell_encoding import pack_latents, vae_latents
from hub_models.spell.spell_errors import ConcurrentUseError, ReferencesError
from hub_models.spell.spell_radius_meaning import EDITS, describe_radius

from . import tiny_pipelines
from .tiny_pipelines import FAMILIES

FOLDER = Path(next(iter(hub_models.spell.__path__)))
STEPS = 4


def spell_class(entry: str) -> type:
    module = importlib.import_module(f"hub_models.spell.{Path(entry).stem}")
    return next(
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, DiffusionPipeline) and cls.__module__ == module.__name__
    )


def pair(entry: str) -> tuple[Any, Any, dict[str, Any]]:
    """The stock pipeline, ours with the same modules, and what a call needs."""
    make, arguments = FAMILIES[entry]
    stock = make()
    ours = spell_class(entry)(**stock.components, **extra(stock))
    for pipe in (stock, ours):
        pipe.set_progress_bar_config(disable=True)
    return stock, ours, {**arguments, "num_inference_steps": STEPS, "output_type": "np"}


def extra(stock: Any) -> dict[str, Any]:
    return {"requires_safety_checker": False} if "requires_safety_checker" in stock.config else {}


def seeds(count: int = 2) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(count)]


def final_samples(pipe: Any, arguments: dict[str, Any]) -> torch.Tensor:
    """What the stock pipeline's scheduler hands over at the end."""
    watch = attach_spell(pipe, intra_batch=True, radius=1e-9)  # which never acts
    pipe(**arguments, generator=seeds())
    detach_spell(pipe)
    return watch.record.final


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[Any, Any, dict[str, Any]]:
    return pair(request.param)


@pytest.mark.parametrize("entry", [*FAMILIES, "spell_class_conditional.py"])
def test_an_entry_file_names_every_sibling_that_it_needs(entry: str):
    """diffusers copies no others, and finds them by a regular expression."""
    from diffusers.utils.dynamic_modules_utils import get_relative_imports

    needed = {path.stem for path in closure([entry], FOLDER)} - {Path(entry).stem}
    assert relative_imports(FOLDER / entry) == needed
    assert set(get_relative_imports(FOLDER / entry)) == needed


def test_without_a_shield_the_images_are_those_of_the_base_bit_for_bit(family):
    stock, ours, arguments = family
    expected = stock(**arguments, generator=seeds()).images
    assert np.array_equal(ours(**arguments, generator=seeds()).images, expected)
    assert ours.spell is None
    shape = final_samples(stock, arguments).shape[1:]
    ours(**arguments, generator=seeds(), shield=torch.full((3, *shape), 9.0), radius=0.1)
    assert np.array_equal(ours(**arguments, generator=seeds()).images, expected), (
        "a trace of a shield is left"
    )


def test_images_leave_the_balls_around_what_they_were(family):
    stock, ours, arguments = family
    protected = final_samples(stock, arguments)
    radius = 0.2 * float(protected[0].norm())
    images = ours(**arguments, generator=seeds(), shield=protected, radius=radius).images
    assert np.isfinite(images).all()
    away = torch.cdist(ours.spell.record.final.flatten(1).double(), protected.flatten(1).double())
    assert (away >= radius).all()
    assert (ours.spell.record.active_steps > 0).all()
    assert not np.array_equal(images, stock(**arguments, generator=seeds()).images)


def test_images_of_a_batch_keep_apart(family):
    _, ours, arguments = family
    plain = ours(**arguments, generator=seeds()).images
    ours(**arguments, generator=seeds(), intra_batch=True, radius=1e-9)
    final = ours.spell.record.final.flatten(1)
    wide = 1.5 * float(torch.cdist(final, final).max())
    apart = ours(**arguments, generator=seeds(), intra_batch=True, radius=wide).images
    assert not np.allclose(plain, apart)
    assert (ours.spell.record.active_steps > 0).all()


def test_every_argument_of_the_base_is_still_there(family):
    stock, ours, _ = family
    own, base = inspect.signature(type(ours).__call__), inspect.signature(type(stock).__call__)
    assert set(base.parameters) <= set(own.parameters)
    assert (
        list(own.parameters)[: len(base.parameters) - 1] == list(base.parameters)[: len(base.parameters) - 1]
    )
    assert inspect.signature(type(ours).__init__) == inspect.signature(type(stock).__init__)


def test_callbacks_prompts_and_output_types_work_under_a_shield():
    stock, ours, arguments = pair("pipeline.py")
    protected = final_samples(stock, arguments)
    seen: list[int] = []

    def callback(pipe: Any, step: int, timestep: int, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append(step)
        return tensors

    call = {**arguments, "prompt": "a cat", "negative_prompt": "a dog", "num_images_per_prompt": 2}
    for output_type, kind in (
        ("pil", list),
        ("pt", torch.Tensor),
        ("latent", torch.Tensor),
        ("np", np.ndarray),
    ):
        call["output_type"] = output_type
        images = ours(
            **call, generator=seeds(), shield=protected, radius=3.0, callback_on_step_end=callback
        ).images
        assert isinstance(images, kind)
        assert len(images) == 2
    assert seen == [0, 1, 2, 3] * 4
    latents = ours(
        **{**call, "output_type": "latent"}, generator=seeds(), shield=protected, radius=3.0
    ).images
    assert torch.equal(latents.float(), ours.spell.record.final), (
        "what the report measures is what is decoded"
    )


def test_a_batch_gives_what_single_calls_give():
    stock, ours, arguments = pair("pipeline.py")
    protected = final_samples(stock, arguments)
    together = ours(**arguments, generator=seeds(), shield=protected, radius=3.0).images
    for i, generator in enumerate(seeds()):
        single = ours(
            **{**arguments, "prompt": arguments["prompt"][i]},
            generator=generator,
            shield=protected,
            radius=3.0,
        ).images
        assert np.allclose(single[0], together[i], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype):
    stock, ours, arguments = pair("pipeline.py")
    stock.to(dtype)
    protected = final_samples(stock, arguments)
    ours(**arguments, generator=seeds(), shield=protected, radius=3.0)
    final = ours.spell.record.final
    assert (torch.cdist(final.flatten(1).double(), protected.flatten(1).double()) >= 3.0).all()


def test_saving_names_the_stock_scheduler_and_the_shield_leaves_no_trace(tmp_path: Path):
    stock, ours, arguments = pair("spell_ddpm.py")
    scheduler = ours.scheduler
    ours(**arguments, generator=seeds(), shield=torch.zeros(1, 3, 16, 16), radius=1.0)
    assert ours.scheduler is scheduler
    ours.save_pretrained(tmp_path / "ours")
    stock.save_pretrained(tmp_path / "stock")
    index = [json.loads((tmp_path / name / "model_index.json").read_text()) for name in ("ours", "stock")]
    assert index[0].pop("_class_name") == "SpellDDPMPipeline"
    assert index[1].pop("_class_name") == "DDPMPipeline"
    assert index[0] == index[1]


def test_a_reference_set_by_its_folder_is_checked_against_the_vae(tmp_path: Path):
    _, ours, arguments = pair("pipeline.py")
    images = [torch.rand(3, 16, 16) * 2 - 1 for _ in range(3)]
    ReferenceSet.build(images, folder=tmp_path / "own", vae=ours.vae, resolution=16)
    ours(**arguments, generator=seeds(), shield=tmp_path / "own", radius=1.0)
    torch.manual_seed(5)
    ReferenceSet.build(images, folder=tmp_path / "other", vae=tiny_pipelines.vae(), resolution=16)
    with pytest.raises(ReferencesError, match="made for"):
        ours(**arguments, generator=seeds(), shield=tmp_path / "other", radius=1.0)
    assert ours(**arguments, generator=seeds()).images is not None, "still usable after the error"


def test_a_set_for_flux_is_packed_as_its_pipeline_packs(tmp_path: Path):
    _, ours, arguments = pair("spell_flux.py")
    images = [torch.rand(3, 16, 16) * 2 - 1 for _ in range(3)]
    latents = vae_latents(ours.vae, torch.stack(images)).float()
    expected = ours._pack_latents(latents, *latents.shape)
    assert torch.equal(pack_latents(latents), expected)
    packed = ReferenceSet.build(images, folder=tmp_path / "packed", vae=ours.vae, packed=True, flip=True)
    assert packed.sample_shape == (16, 16)
    assert torch.allclose(packed.rows([0, 2, 4]), expected, atol=1e-2)
    packed.add([torch.rand(3, 16, 16)], vae=ours.vae, names=["new"])
    assert len(packed) == 8
    images_of_call = ours(**arguments, generator=seeds(), shield=tmp_path / "packed", radius=1.0).images
    assert np.isfinite(images_of_call).all()
    assert {copy.name for copy in describe_radius(packed, 1.0, images, ours.vae).copies} == set(EDITS)
    ReferenceSet.build(images, folder=tmp_path / "plain", vae=ours.vae)
    for unpacked in (tmp_path / "plain", latents):
        with pytest.raises(ReferencesError, match=r"packed latents.*\(4, 8, 8\).*packed=True"):
            ours(**arguments, generator=seeds(), shield=unpacked, radius=1.0)


def test_what_cannot_be_packed_is_named(tmp_path: Path):
    vae = tiny_pipelines.vae()
    with pytest.raises(ReferencesError, match="7x8 cannot be packed"):
        ReferenceSet.build([torch.zeros(3, 14, 16)], folder=tmp_path, vae=vae, packed=True)
    with pytest.raises(ReferencesError, match="packed= is for images and a VAE"):
        ReferenceSet.build(latents=torch.zeros(2, 4, 8, 8), folder=tmp_path, packed=True)
    with pytest.raises(ReferencesError, match="packed= is for images and a VAE"):
        ReferenceSet.build([torch.zeros(3, 16, 16)], folder=tmp_path, packed=True)


@pytest.mark.parametrize("entry", [*FAMILIES, "spell_class_conditional.py"])
def test_offloading_knows_the_order_of_the_modules(entry: str):
    """Without model_cpu_offload_seq `enable_model_cpu_offload` raises."""
    cls = spell_class(entry)
    assert cls.model_cpu_offload_seq
    if entry in FAMILIES:
        assert cls.model_cpu_offload_seq == FAMILIES[entry][0]().model_cpu_offload_seq


def test_a_lasting_shield_survives_moving_and_lora_loaded_and_unloaded(tmp_path: Path):
    from peft import LoraConfig, get_peft_model_state_dict

    stock, ours, arguments = pair("pipeline.py")
    protected = final_samples(stock, arguments)
    adapter = LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False)
    stock.unet.add_adapter(adapter)  # the modules are shared
    layers = get_peft_model_state_dict(stock.unet)
    stock.unet.delete_adapters("default")
    type(ours).save_lora_weights(tmp_path, unet_lora_layers=layers)
    lasting = attach_spell(ours, protected, radius=3.0)

    def images() -> np.ndarray:
        made = ours(**arguments, generator=seeds()).images
        away = torch.cdist(lasting.record.final.flatten(1).double(), protected.flatten(1).double())
        assert (away >= 3.0).all()
        return made

    before = images()
    ours.to(torch.float64).to(torch.float32)
    ours.to("cpu")
    assert np.array_equal(images(), before)
    ours.load_lora_weights(tmp_path)
    assert not np.array_equal(images(), before)
    ours.unload_lora_weights()
    assert np.allclose(images(), before, atol=1e-5)


def test_a_pipeline_busy_in_another_thread_refuses():
    _, ours, arguments = pair("spell_ddpm.py")
    ours.__dict__.setdefault("_spell_busy", __import__("threading").Lock()).acquire()
    with pytest.raises(ConcurrentUseError, match="from_pipe"):
        ours(**arguments, shield=torch.zeros(1, 3, 16, 16), radius=1.0)


STRANGER = """
import sys
sys.modules["hub_models"] = None
import numpy, torch
from diffusers import DiffusionPipeline
spell, sd, ddpm = sys.argv[1:]
def check(pipe, **arguments):
    pipe.set_progress_bar_config(disable=True)
    call = lambda **more: pipe(**arguments, num_inference_steps=2, output_type="np",
                               generator=torch.Generator().manual_seed(0), **more).images
    plain = call()
    pushed = call(intra_batch=True, radius=1e4)
    assert not numpy.array_equal(plain, pushed)
    return type(pipe).__name__
text = {"prompt": ["a cat", "a dog"], "height": 16, "width": 16}
first = DiffusionPipeline.from_pretrained(sd, custom_pipeline=spell, trust_remote_code=True)
print(check(first, **text))
second = DiffusionPipeline.from_pretrained(ddpm, custom_pipeline=f"{spell}/spell_ddpm.py", trust_remote_code=True)
print(check(second, batch_size=2))
third = DiffusionPipeline.from_pipe(
    DiffusionPipeline.from_pretrained(sd), custom_pipeline=spell, trust_remote_code=True)
print(check(third, **text))
try:
    DiffusionPipeline.from_pretrained(sd, custom_pipeline=spell)
except ValueError as error:
    print("refused", "trust_remote_code" in str(error))
"""


def test_a_stranger_loads_it_from_the_folder_from_a_file_and_by_from_pipe(tmp_path: Path):
    stock, _, _ = pair("pipeline.py")
    stock.save_pretrained(tmp_path / "sd")
    tiny_pipelines.ddpm().save_pretrained(tmp_path / "ddpm")
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, str(FOLDER), str(tmp_path / "sd"), str(tmp_path / "ddpm")],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [
        "SpellStableDiffusionPipeline",
        "SpellDDPMPipeline",
        "SpellStableDiffusionPipeline",
        "refused",
        "True",
    ]


def test_two_pipelines_that_share_modules_do_not_disturb_each_other():
    stock, ours, arguments = pair("pipeline.py")
    twin = type(ours).from_pipe(ours)
    twin.set_progress_bar_config(disable=True)
    protected = final_samples(stock, arguments)
    expected = twin(**arguments, generator=seeds()).images
    ours(**arguments, generator=seeds(), shield=protected, radius=3.0)
    assert np.array_equal(twin(**arguments, generator=seeds()).images, expected)


def test_a_shield_that_is_attached_comes_back_after_a_call_with_another():
    stock, ours, arguments = pair("spell_ddpm.py")
    protected = final_samples(stock, arguments)
    lasting = attach_spell(ours, protected, radius=2.0)
    ours(**arguments, generator=seeds(), shield=torch.zeros(1, 3, 16, 16), radius=1.0)
    assert ours.spell.shield.radius == 1.0
    assert not lasting.record.steps, "the lasting shield was off during the call"
    ours(**arguments, generator=seeds())
    assert lasting.record.final is not None, "and is on again"


def test_the_report_of_a_call_with_a_shield():
    stock, ours, arguments = pair("pipeline.py")
    protected = final_samples(stock, arguments)
    ours(**arguments, generator=seeds(), shield=protected, radius=3.0)
    told = report(ours)
    assert told.radius == 3.0
    assert not any(image.inside for image in told.images)
    assert all(image.distance >= 3.0 and image.active_steps > 0 for image in told.images)


def test_the_scheduler_may_be_exchanged_between_calls():
    _, ours, arguments = pair("pipeline.py")
    ours.scheduler = DDIMScheduler.from_config(ours.scheduler.config, timestep_spacing="trailing")
    ours(**arguments, generator=seeds(), intra_batch=True, radius=100.0)
    assert ours.spell.record.steps
