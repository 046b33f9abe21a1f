"""The expected clean image behind a model output, for every scheduler of diffusers that has one.

Whatever a network predicts (noise, velocity, flow, the image), the clean image is affine in what the scheduler's
step gets: x0 = skip * sample + scale * model_output. So x0 is moved by `delta` by adding delta / scale to the
model output, before the scheduler sees it; multistep solvers then keep the moved x0 in their history.

The two numbers belong to one evaluation of the network, not to one step: second-order solvers evaluate it twice,
and KDPM2 and DPM-Solver-SDE do so at a noise level between two steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from .spell_errors import UnsupportedSchedulerError
from .spell_refused import REFUSED


class Prediction(NamedTuple):
    """Coefficients of x0 = skip * sample + scale * model_output."""

    skip: float
    scale: float


class Position(NamedTuple):
    """Which evaluation of the network this is, of how many: 0 <= index < total."""

    index: int
    total: int

    @property
    def last(self) -> bool:
        """Whether the sample that this step returns is the result."""
        return self.index == self.total - 1


def require_supported(scheduler: Any) -> None:
    """Raise for a scheduler, or a setting of it, that the shield cannot work under.

    Raises:
        UnsupportedSchedulerError: names the scheduler, the reason and what to use instead.
    """
    cls = type(scheduler)
    name = cls.__name__
    if name in REFUSED:
        raise UnsupportedSchedulerError(f"{name} cannot be shielded: {REFUSED[name]}.")
    if name not in _READERS or not cls.__module__.startswith("diffusers."):
        raise UnsupportedSchedulerError(
            f"{cls.__module__}.{name} is not among the schedulers that the shield is tested with "
            f"({', '.join(sorted(_READERS))}). Its step may treat the model output differently; use one of these."
        )
    config = scheduler.config
    if config.get("invert_sigmas"):
        raise UnsupportedSchedulerError(f"{name} with invert_sigmas runs from image to noise; switch it off.")
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if alphas is not None and config.get("prediction_type") == "epsilon" and float(alphas.min()) == 0:
        raise UnsupportedSchedulerError(
            f"{name} with rescale_betas_zero_snr and epsilon prediction has no clean image at its first step "
            "(the signal is zero); use prediction_type='v_prediction' as such models are trained, or switch it off."
        )


def require_supported_step(scheduler: Any, arguments: dict[str, Any]) -> None:
    """Raise for arguments of `step` under which the sample that the network saw is not the one given.

    Args:
        scheduler: the scheduler.
        arguments: what its step was called with, by name.

    Raises:
        UnsupportedSchedulerError: names the argument.
    """
    name = type(scheduler).__name__
    if arguments.get("s_churn") and name != "FlowMatchEulerDiscreteScheduler":  # which ignores it
        raise UnsupportedSchedulerError(
            f"{name}.step(s_churn={arguments['s_churn']}) adds noise inside the step, after the network has run, so "
            "the clean image cannot be known beforehand; use s_churn=0 or an ancestral scheduler."
        )
    if arguments.get("per_token_timesteps") is not None:
        raise UnsupportedSchedulerError(f"{name}.step(per_token_timesteps=...) has no single noise level.")
    if getattr(scheduler, "_scale_factors", None):
        raise UnsupportedSchedulerError(f"{name} with scale_factors changes the resolution on the way.")


def position(scheduler: Any, timestep: Any) -> Position:
    """Where in its schedule the scheduler is, just before `step`."""
    name = type(scheduler).__name__
    total = len(scheduler.timesteps) - (name in _ENDS_WITH_ZERO)
    if name == "PNDMScheduler":
        return Position(scheduler.counter, total)
    if hasattr(type(scheduler), "step_index"):
        if scheduler.step_index is None:
            scheduler._init_step_index(timestep)
        return Position(scheduler.step_index, total)
    distance = (scheduler.timesteps.double() - _scalar(timestep)).abs()
    return Position(int(distance.argmin()), total)


def prediction(scheduler: Any, timestep: Any) -> Prediction:
    """The coefficients of the evaluation that `step` is about to use; call after `position`.

    Raises:
        UnsupportedSchedulerError: at a noise level where the output says nothing about the clean image.
    """
    name = type(scheduler).__name__
    result = _READERS[name](scheduler, timestep)
    if not (math.isfinite(result.skip) and math.isfinite(result.scale) and result.scale):
        raise UnsupportedSchedulerError(
            f"{name} at timestep {_scalar(timestep):g} has no clean image to read from the model's "
            f"{scheduler.config.get('prediction_type')} prediction (coefficients {result.skip}, {result.scale})."
        )
    return result


def limited(scheduler: Any, x0: torch.Tensor) -> tuple[torch.Tensor, float | None]:
    """The clean image after the scheduler's own clipping, and the bound of what it leaves as it is.

    Dynamic thresholding divides by a quantile of at least 1, so it leaves images within [-1, 1] as they are.

    Args:
        scheduler: the scheduler.
        x0: expected clean images, shape (B, *sample shape), float32.

    Returns:
        The images as the scheduler will use them, and the largest magnitude it leaves alone (None: any).
    """
    name, config = type(scheduler).__name__, scheduler.config
    if name in _THRESHOLDING and config.get("thresholding"):
        return scheduler._threshold_sample(x0), 1.0
    if name in _CLIPPING and config.get("clip_sample"):
        bound = float(config.get("clip_sample_range", 1.0))
    elif name == "CMStochasticIterativeScheduler" and config.clip_denoised:
        bound = 1.0
    else:
        return x0, None
    return x0.clamp(-bound, bound), bound


def result_scale(scheduler: Any) -> float:
    """What the clean image is multiplied by in the scheduler's last sample."""
    return float(scheduler.config.sigma_data) if type(scheduler).__name__ == "SCMScheduler" else 1.0


def _scalar(timestep: Any) -> float:
    return float(timestep.flatten()[0]) if isinstance(timestep, torch.Tensor) else float(timestep)


def _divide(a: float, b: float) -> float:
    return a / b if b else math.inf


def _variance_preserving(alpha: float, sigma: float, kind: str) -> Prediction:
    """sample = alpha * x0 + sigma * noise, alpha^2 + sigma^2 = 1."""
    if kind == "epsilon":
        return Prediction(_divide(1, alpha), -_divide(sigma, alpha))
    if kind == "v_prediction":
        return Prediction(alpha, -sigma)
    return _image(kind)


def _variance_exploding(sigma: float, kind: str) -> Prediction:
    """sample = x0 + sigma * noise; the network sees it divided by sqrt(sigma^2 + 1)."""
    if kind == "epsilon":
        return Prediction(1, -sigma)
    if kind == "v_prediction":
        return Prediction(1 / (sigma**2 + 1), -sigma / math.sqrt(sigma**2 + 1))
    return _image(kind)


def _image(kind: str) -> Prediction:
    if kind in ("sample", "original_sample"):
        return Prediction(0, 1)
    raise UnsupportedSchedulerError(f"prediction_type={kind!r} is not one that the shield knows.")


def _by_alpha_bar(scheduler: Any, timestep: Any) -> Prediction:
    alpha_bar = float(scheduler.alphas_cumprod[int(_scalar(timestep))])
    return _variance_preserving(
        math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar), scheduler.config.prediction_type
    )


def _wuerstchen(scheduler: Any, timestep: torch.Tensor) -> Prediction:
    alpha_bar = float(scheduler._alpha_cumprod(timestep.flatten()[:1], timestep.device))
    return _variance_preserving(math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar), "epsilon")


def _by_sigma(scheduler: Any, timestep: Any) -> Prediction:
    sigma = float(scheduler.sigmas[scheduler.step_index])
    return _variance_exploding(sigma, scheduler.config.prediction_type)


def _kdpm2(scheduler: Any, timestep: Any) -> Prediction:
    if scheduler.state_in_first_order:
        return _by_sigma(scheduler, timestep)
    return _variance_exploding(
        float(scheduler.sigmas_interpol[scheduler.step_index]), scheduler.config.prediction_type
    )


def _kdpm2_ancestral(scheduler: Any, timestep: Any) -> Prediction:
    if scheduler.state_in_first_order:
        return _by_sigma(scheduler, timestep)
    return _variance_exploding(
        float(scheduler.sigmas_interpol[scheduler.step_index - 1]), scheduler.config.prediction_type
    )


def _dpm_solver_sde(scheduler: Any, timestep: Any) -> Prediction:
    if scheduler.state_in_first_order:
        return _by_sigma(scheduler, timestep)
    return _variance_exploding(float(scheduler.mid_point_sigma), scheduler.config.prediction_type)


def _by_alpha_sigma(scheduler: Any, timestep: Any) -> Prediction:
    sigma, kind = scheduler.sigmas[scheduler.step_index], scheduler.config.prediction_type
    if kind == "flow_prediction":
        return Prediction(1, -float(sigma))
    alpha, sigma = scheduler._sigma_to_alpha_sigma_t(sigma)
    return _variance_preserving(float(alpha), float(sigma), kind)


def _flow(scheduler: Any, timestep: Any) -> Prediction:
    """sample = (1 - sigma) * x0 + sigma * noise; the network predicts noise - x0."""
    return Prediction(1, -float(scheduler.sigmas[scheduler.step_index]))


def _preconditioned(scheduler: Any, timestep: Any) -> Prediction:
    """EDM (Karras et al. 2022, table 1): the network's output is scaled by c_out."""
    sigma, data = float(scheduler.sigmas[scheduler.step_index]), float(scheduler.config.sigma_data)
    total = sigma**2 + data**2
    sign = -1 if scheduler.config.prediction_type == "v_prediction" else 1
    return Prediction(data**2 / total, sign * sigma * data / math.sqrt(total))


def _consistency(scheduler: Any, timestep: Any) -> Prediction:
    skip, scale = scheduler.get_scalings_for_boundary_condition(scheduler.sigmas[scheduler.step_index])
    return Prediction(float(skip), float(scale))


def _trigonometric(scheduler: Any, timestep: Any) -> Prediction:
    angle, data = float(scheduler.timesteps[scheduler.step_index]), float(scheduler.config.sigma_data)
    return Prediction(math.cos(angle) / data, -math.sin(angle) / data)


_READERS: dict[str, Callable[[Any, Any], Prediction]] = {
    "CMStochasticIterativeScheduler": _consistency,
    "DDIMScheduler": _by_alpha_bar,
    "DDPMScheduler": _by_alpha_bar,
    "DDPMWuerstchenScheduler": _wuerstchen,
    "DEISMultistepScheduler": _by_alpha_sigma,
    "DPMSolverMultistepScheduler": _by_alpha_sigma,
    "DPMSolverSDEScheduler": _dpm_solver_sde,
    "DPMSolverSinglestepScheduler": _by_alpha_sigma,
    "EDMDPMSolverMultistepScheduler": _preconditioned,
    "EDMEulerScheduler": _preconditioned,
    "EulerAncestralDiscreteScheduler": _by_sigma,
    "EulerDiscreteScheduler": _by_sigma,
    "FlowMatchEulerDiscreteScheduler": _flow,
    "FlowMatchHeunDiscreteScheduler": _flow,
    "FlowMatchLCMScheduler": _flow,
    "HeunDiscreteScheduler": _by_sigma,
    "KDPM2AncestralDiscreteScheduler": _kdpm2_ancestral,
    "KDPM2DiscreteScheduler": _kdpm2,
    "LCMScheduler": _by_alpha_bar,
    "LMSDiscreteScheduler": _by_sigma,
    "PNDMScheduler": _by_alpha_bar,
    "SASolverScheduler": _by_alpha_sigma,
    "SCMScheduler": _trigonometric,
    "TCDScheduler": _by_alpha_bar,
    "UnCLIPScheduler": _by_alpha_bar,
    "UniPCMultistepScheduler": _by_alpha_sigma,
}
SUPPORTED = frozenset(_READERS)

_ENDS_WITH_ZERO = frozenset({"DDPMWuerstchenScheduler", "SCMScheduler"})  # a last timestep that is no step
_CLIPPING = frozenset(
    {"DDIMScheduler", "DDPMScheduler", "HeunDiscreteScheduler", "LCMScheduler", "UnCLIPScheduler"}
)
_THRESHOLDING = frozenset(
    {
        "DDIMScheduler",
        "DDPMScheduler",
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "EDMDPMSolverMultistepScheduler",
        "LCMScheduler",
        "SASolverScheduler",
        "UniPCMultistepScheduler",
    }
)
