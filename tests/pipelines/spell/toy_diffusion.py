"""A diffusion model whose exact denoiser is known: a mixture of small Gaussians around a few modes.

The network knows nothing of a scheduler but the input and the timestep that a real network would get.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hub_models.spell.spell_protected import InsidePairs

SHAPE = (4, 8, 8)
SPREAD = 0.05
MODES = 12
STEPS = 12

FLOW = {"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler"}
PRECONDITIONED = {"EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"}


def modes(scale: float = 1.0) -> Tensor:
    """(MODES, *SHAPE), float32; about 22.6 * scale apart."""
    return scale * torch.randn(MODES, *SHAPE, generator=torch.Generator().manual_seed(7))


def denoise(centres: Tensor, sample: Tensor, alpha: float, sigma: float) -> Tensor:
    """E[x0 | sample = alpha x0 + sigma noise], exactly, in float64."""
    x, z = sample.double().flatten(1), centres.double().flatten(1)
    variance = (alpha * SPREAD) ** 2 + sigma**2
    squared = (x[:, None] - alpha * z[None]).square().sum(2)
    weights = (-squared / (2 * variance)).softmax(1)
    within = z[None] + alpha * SPREAD**2 / variance * (x[:, None] - alpha * z[None])
    return (weights[..., None] * within).sum(1).view(sample.shape)


class Network:
    """What a pipeline would call: (model input, timestep) -> output of the scheduler's prediction type."""

    def __init__(self, scheduler: Any, centres: Tensor) -> None:
        self.scheduler, self.centres, self.clean = scheduler, centres, []

    def __call__(self, model_input: Tensor, timestep: Tensor) -> Tensor:
        name, t = type(self.scheduler).__name__, float(timestep.flatten()[0])
        if name in FLOW or self.scheduler.config.get("prediction_type") == "flow_prediction":
            sigma = t / 1000
            clean = self._denoise(model_input, 1 - sigma, sigma)
            return ((model_input - clean) / sigma).float()
        if name in PRECONDITIONED:
            return self._preconditioned(model_input, math.exp(4 * t))
        if name == "SCMScheduler":
            data = self.scheduler.config.sigma_data  # the unit of samples and outputs
            sample = model_input / data
            clean = self._denoise(sample, math.cos(t), math.sin(t))
            return (data * (math.cos(t) * sample - clean) / math.sin(t)).float()
        if name == "CMStochasticIterativeScheduler":
            return self._consistency(model_input, math.exp(t / 250) - 1e-44)
        return self._variance_preserving(model_input, *self._alpha_sigma(timestep))

    def _denoise(self, sample: Tensor, alpha: float, sigma: float) -> Tensor:
        clean = denoise(self.centres, sample, alpha, sigma)
        self.clean.append(clean)
        return clean

    def _alpha_sigma(self, timestep: Tensor) -> tuple[float, float]:
        scheduler, t = self.scheduler, float(timestep.flatten()[0])
        if type(scheduler).__name__ == "DDPMWuerstchenScheduler":
            bar = float(scheduler._alpha_cumprod(timestep.flatten()[:1], "cpu"))
        else:
            low = min(int(t), len(scheduler.alphas_cumprod) - 1)
            high = min(low + 1, len(scheduler.alphas_cumprod) - 1)
            logs = [
                math.log(
                    (1 - float(scheduler.alphas_cumprod[i])) / max(float(scheduler.alphas_cumprod[i]), 1e-12)
                )
                for i in (low, high)
            ]
            ratio = math.exp(logs[0] + (t - low) * (logs[1] - logs[0]))
            bar = 1 / (1 + ratio)
        return math.sqrt(bar), math.sqrt(1 - bar)

    def _variance_preserving(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        clean = self._denoise(x, alpha, sigma)
        noise = (x - alpha * clean) / sigma
        kind = self.scheduler.config.get("prediction_type", "epsilon")
        output = {
            "epsilon": noise,
            "v_prediction": alpha * noise - sigma * clean,
            "sample": clean,
            "original_sample": clean,
        }[kind]
        return output.float()

    def _preconditioned(self, model_input: Tensor, sigma: float) -> Tensor:
        data = self.scheduler.config.sigma_data
        total = sigma**2 + data**2
        sample = model_input.double() * math.sqrt(total)
        clean = self._denoise(sample, 1, sigma)
        output = (clean - data**2 / total * sample) * math.sqrt(total) / (sigma * data)
        return (output if self.scheduler.config.prediction_type == "epsilon" else -output).float()

    def _consistency(self, model_input: Tensor, sigma: float) -> Tensor:
        config = self.scheduler.config
        sample = model_input.double() * math.sqrt(sigma**2 + config.sigma_data**2)
        clean = self._denoise(sample, 1, sigma)
        low, data = config.sigma_min, config.sigma_data
        skip = data**2 / ((sigma - low) ** 2 + data**2)
        out = (sigma - low) * data / math.sqrt(sigma**2 + data**2)
        return ((clean - skip * sample) / out).float()


def generate(scheduler: Any, network: Network, batch: int = 6, seed: int = 0, steps: int = STEPS) -> Tensor:
    """The loop of a pipeline."""
    name, generator = type(scheduler).__name__, torch.Generator().manual_seed(seed)
    scheduler.set_timesteps(steps, **({"intermediate_timesteps": None} if name == "SCMScheduler" else {}))
    sample = torch.randn(batch, *SHAPE, generator=generator) * scheduler_noise(scheduler)
    timesteps = scheduler.timesteps[: len(scheduler.timesteps) - ends_with_zero(scheduler)]
    for index, timestep in enumerate(timesteps):
        scaled = (
            scheduler.scale_model_input(sample, timestep)
            if hasattr(scheduler, "scale_model_input")
            else sample
        )
        extra: dict[str, Any] = {} if name in NO_GENERATOR else {"generator": generator}
        if name == "DDPMWuerstchenScheduler":
            timestep = timestep.expand(batch)
        if name == "UnCLIPScheduler":  # which its pipelines tell where to go
            extra["prev_timestep"] = timesteps[index + 1] if index + 1 < len(timesteps) else None
        output = network(scaled, timestep)
        sample = scheduler.step(output, timestep, sample, return_dict=False, **extra)[0]
    return sample / (scheduler.config.sigma_data if name == "SCMScheduler" else 1)


NO_GENERATOR = {
    "DEISMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
}


def ends_with_zero(scheduler: Any) -> int:
    return int(type(scheduler).__name__ in ("DDPMWuerstchenScheduler", "SCMScheduler"))


def scheduler_noise(scheduler: Any) -> float:
    if type(scheduler).__name__ == "SCMScheduler":
        return float(scheduler.config.sigma_data)
    return float(getattr(scheduler, "init_noise_sigma", 1.0))


class Witness:
    """A reference set that holds nothing near, and writes down what it is asked about."""

    sample_shape = SHAPE

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __len__(self) -> int:
        return 1

    def search(self) -> Witness:
        return self

    def within(self, queries: Tensor, radius: float) -> Iterator[InsidePairs]:
        self.seen.append(queries.clone())
        return iter(())

    def nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(queries), dtype=torch.int64), torch.full((len(queries),), torch.inf).double()
