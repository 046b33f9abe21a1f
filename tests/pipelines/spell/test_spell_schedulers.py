from __future__ import annotations

import inspect
from typing import Any

import diffusers
import pytest
import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from hub_models.spell import attach_spell, detach_spell
from hub_models.spell.spell_errors import UnsupportedSchedulerError
from hub_models.spell.spell_prediction import SUPPORTED
from hub_models.spell.spell_refused import REFUSED

from . import toy_diffusion as toy

LATENT = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
KARRAS = {**LATENT, "use_karras_sigmas": True}
#: Schedulers with a solver of their own noise levels, which tell the network a rounded timestep.
CASES: list[tuple[str, dict[str, Any]]] = [
    *(
        (name, {**LATENT, "clip_sample": False, "prediction_type": kind})
        for name in ("DDIMScheduler", "DDPMScheduler")
        for kind in ("epsilon", "v_prediction", "sample")
    ),
    ("DDIMScheduler", {**LATENT, "clip_sample": False, "timestep_spacing": "trailing"}),
    (
        "DDIMScheduler",
        {
            **LATENT,
            "clip_sample": False,
            "rescale_betas_zero_snr": True,
            "prediction_type": "v_prediction",
            "timestep_spacing": "trailing",
        },
    ),
    ("DDPMScheduler", {"clip_sample": False, "variance_type": "fixed_large"}),
    ("PNDMScheduler", {**LATENT, "skip_prk_steps": True}),
    ("PNDMScheduler", {**LATENT, "skip_prk_steps": True, "prediction_type": "v_prediction"}),
    ("PNDMScheduler", LATENT),
    *(
        (name, {**config, "prediction_type": kind})
        for name in ("EulerDiscreteScheduler", "LMSDiscreteScheduler", "HeunDiscreteScheduler")
        for config in (LATENT, KARRAS)
        for kind in ("epsilon", "v_prediction")
    ),
    ("EulerDiscreteScheduler", {**LATENT, "use_exponential_sigmas": True}),
    ("EulerDiscreteScheduler", {**LATENT, "prediction_type": "sample"}),
    ("EulerAncestralDiscreteScheduler", LATENT),
    ("EulerAncestralDiscreteScheduler", {**LATENT, "prediction_type": "v_prediction"}),
    *(
        (name, {**config, "prediction_type": kind})
        for name in ("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler")
        for config in (LATENT, KARRAS)
        for kind in ("epsilon", "v_prediction")
    ),
    *(
        ("DPMSolverMultistepScheduler", {**LATENT, **extra})
        for extra in (
            {},
            {"algorithm_type": "sde-dpmsolver++"},
            {"prediction_type": "v_prediction"},
            {"prediction_type": "sample"},
            {"solver_order": 3},
            {"use_karras_sigmas": True},
            {"use_lu_lambdas": True},
            {"final_sigmas_type": "sigma_min"},
            {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},
        )
    ),
    ("DPMSolverSinglestepScheduler", LATENT),
    ("DPMSolverSinglestepScheduler", KARRAS),
    ("DEISMultistepScheduler", LATENT),
    ("DEISMultistepScheduler", {**LATENT, "prediction_type": "v_prediction"}),
    ("UniPCMultistepScheduler", LATENT),
    ("UniPCMultistepScheduler", {**LATENT, "prediction_type": "v_prediction"}),
    (
        "UniPCMultistepScheduler",
        {**LATENT, "prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},
    ),
    ("SASolverScheduler", LATENT),
    ("UnCLIPScheduler", {"clip_sample": False}),
    ("UnCLIPScheduler", {"clip_sample": False, "prediction_type": "sample"}),
    ("LCMScheduler", {**LATENT, "clip_sample": False}),
    ("TCDScheduler", {**LATENT, "clip_sample": False}),
    ("DDPMWuerstchenScheduler", {}),
    ("EDMEulerScheduler", {}),
    ("EDMEulerScheduler", {"prediction_type": "v_prediction"}),
    ("EDMDPMSolverMultistepScheduler", {}),
    ("CMStochasticIterativeScheduler", {"clip_denoised": False}),
    ("SCMScheduler", {}),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
    ("FlowMatchEulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}),
    ("FlowMatchLCMScheduler", {}),
    ("DPMSolverSDEScheduler", {**LATENT, "noise_sampler_seed": 0}),
]


def ids(case: tuple[str, dict[str, Any]]) -> str:
    name, config = case
    extra = [f"{k}={v}" for k, v in config.items() if k not in LATENT and k != "clip_sample"]
    return "-".join([name.removesuffix("Scheduler"), *extra])


def rounded(name: str, config: dict[str, Any]) -> bool:
    """Whether the network is told a timestep that is not quite the solver's noise level."""
    rounds = name.startswith(("DPMSolverMulti", "DPMSolverSingle", "DEIS", "UniPC", "SASolver"))
    return rounds and config.get("prediction_type") != "flow_prediction"


def schedulers() -> list[str]:
    """Every scheduler class of diffusers that has a step."""
    found = set()
    for name in dir(diffusers.schedulers):
        cls = getattr(diffusers, name, None)
        if inspect.isclass(cls) and issubclass(cls, SchedulerMixin) and cls is not SchedulerMixin:
            found.add(name)
    return sorted(found)


@pytest.mark.parametrize("name", schedulers())
def test_every_scheduler_of_diffusers_is_supported_or_refused_with_a_reason(name: str):
    assert (name in SUPPORTED) != (name in REFUSED)
    if name in SUPPORTED:
        assert any(name == case for case, _ in CASES), "supported, but not tested"
    if name in REFUSED:
        assert len(REFUSED[name]) > 20


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_the_expected_clean_image_is_read_as_the_exact_denoiser_gives_it(case: tuple[str, dict[str, Any]]):
    name, config = case
    scheduler = getattr(diffusers, name)(**config)
    plain_network = toy.Network(scheduler, toy.modes())
    torch.manual_seed(1)
    plain = toy.generate(scheduler, plain_network)

    scheduler = getattr(diffusers, name)(**config)
    network, witness = toy.Network(scheduler, toy.modes()), toy.Witness()
    attach_spell(scheduler, witness, radius=4.0)
    torch.manual_seed(1)
    shielded = toy.generate(scheduler, network)

    assert torch.equal(plain, shielded), "watching changed the images"
    evaluations = len(network.clean)
    assert len(witness.seen) == evaluations + 1, "each evaluation, and the result"
    for index, (seen, exact) in enumerate(zip(witness.seen, network.clean, strict=False)):
        error = (seen.double().view(exact.shape) - exact).flatten(1).norm(dim=1).max()
        # The modes are 22 apart. Karras and flow timesteps reach the network through float32 tables.
        tolerance = 0.6 if rounded(name, config) else 5e-2
        assert error < tolerance, f"evaluation {index} of {evaluations}: {error}"


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_shielded_images_lie_outside_all_balls_and_are_still_images(case: tuple[str, dict[str, Any]]):
    name, config = case
    centres = toy.modes()
    protected = centres[: toy.MODES // 2]
    scheduler = getattr(diffusers, name)(**config)
    torch.manual_seed(1)
    plain = toy.generate(scheduler, toy.Network(scheduler, centres), batch=12)

    def distances(samples: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
        return torch.cdist(samples.flatten(1).double(), to.flatten(1).double()).amin(1)

    inside = distances(plain, protected) < 4
    assert inside.any(), "the toy must have something to avoid"
    attachment = attach_spell(scheduler, protected, radius=4.0)
    torch.manual_seed(1)
    shielded = toy.generate(scheduler, toy.Network(scheduler, centres), batch=12)
    assert shielded.isfinite().all()
    assert (distances(shielded, protected) >= 4).all()
    assert (distances(shielded, centres) < 22).all(), "pushed farther than the modes are apart"
    assert (attachment.record.active_steps > 0)[inside].all()
    detach_spell(scheduler)
    torch.manual_seed(1)
    again = toy.generate(scheduler, toy.Network(scheduler, centres), batch=12)
    assert torch.equal(again, plain), "a trace of the shield is left"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_scheduler_says_why(name: str):
    cls = getattr(diffusers, name, None)
    if cls is None or not callable(getattr(cls, "step", None)):
        pytest.skip("this version of diffusers lacks it, or it has no step")
    try:
        scheduler = cls()
    except (TypeError, ImportError):
        pytest.skip("it cannot be made without its model")
    with pytest.raises(UnsupportedSchedulerError, match=name):
        attach_spell(scheduler, torch.zeros(1, *toy.SHAPE), radius=1.0)


def test_a_scheduler_of_somebody_else_is_refused():
    class MyScheduler(diffusers.DDIMScheduler):
        pass

    with pytest.raises(UnsupportedSchedulerError, match="not among the schedulers"):
        attach_spell(MyScheduler(), torch.zeros(1, *toy.SHAPE), radius=1.0)


def test_epsilon_without_signal_is_refused():
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True)
    with pytest.raises(UnsupportedSchedulerError, match="v_prediction"):
        attach_spell(scheduler, torch.zeros(1, *toy.SHAPE), radius=1.0)


def test_churn_inside_the_step_is_refused():
    scheduler = diffusers.EulerDiscreteScheduler()
    attach_spell(scheduler, torch.zeros(1, *toy.SHAPE), radius=1.0)
    scheduler.set_timesteps(4)
    sample = torch.randn(1, *toy.SHAPE)
    with pytest.raises(UnsupportedSchedulerError, match="s_churn"):
        scheduler.step(sample, scheduler.timesteps[0], sample, s_churn=0.5)


@pytest.mark.parametrize("config", [{"clip_sample": True}, {"clip_sample": False, "thresholding": True}])
def test_clipping_does_not_undo_the_shield(config: dict[str, Any]):
    centres = 0.3 * toy.modes().clamp(-3, 3)
    scheduler = diffusers.DDIMScheduler(**LATENT, **config)
    plain = toy.generate(scheduler, toy.Network(scheduler, centres), batch=8)
    attach_spell(scheduler, centres, radius=1.5)
    shielded = toy.generate(scheduler, toy.Network(scheduler, centres), batch=8)
    nearest = torch.cdist(shielded.flatten(1).double(), centres.flatten(1).double()).amin(1)
    assert torch.cdist(plain.flatten(1), centres.flatten(1)).amin() < 1.5
    assert (nearest >= 1.5).all()
