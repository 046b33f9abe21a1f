"""Schedulers of diffusers that cannot be shielded, each with the reason its user is told."""

from __future__ import annotations

_TOKENS = "it samples discrete tokens, which have no distance to a reference"
_VIDEO = "only video pipelines use it, and the shield is tested with images"
_AUDIO = "only audio pipelines use it, and the shield is tested with images"
_INVERSE = "it runs from an image to noise, so there is no result to protect; attach to the forward scheduler"
_PARALLEL = (
    "its batch_step_no_noise moves many timesteps at once without step, past the shield; "
    "use the scheduler of the same name without Parallel"
)

REFUSED = {
    "AmusedScheduler": _TOKENS,
    "BlockRefinementScheduler": _TOKENS,
    "CogVideoXDDIMScheduler": _VIDEO,
    "CogVideoXDPMScheduler": _VIDEO,
    "ConsistencyDecoderScheduler": "it decodes latents into pixels; attach to the pipeline's own scheduler",
    "CosineDPMSolverMultistepScheduler": _AUDIO,
    "DDIMInverseScheduler": _INVERSE,
    "DDIMParallelScheduler": _PARALLEL,
    "DDPMParallelScheduler": _PARALLEL,
    "DPMSolverMultistepInverseScheduler": _INVERSE,
    "DiscreteDDIMScheduler": _TOKENS,
    "EntropyBoundScheduler": _TOKENS,
    "FlowMapEulerDiscreteScheduler": (
        "its network predicts the mean velocity between two noise levels (a flow map), "
        "from which the clean image cannot be read"
    ),
    "HeliosDMDScheduler": _VIDEO,
    "HeliosScheduler": _VIDEO,
    "IPNDMScheduler": _AUDIO,
    "KarrasVeScheduler": "diffusers has deprecated it, and its correction has no step; use EDMEulerScheduler",
    "LTXEulerAncestralRFScheduler": _VIDEO,
    "MiniMaxH3Scheduler": _VIDEO,
    "PiflowScheduler": (
        "its network predicts a policy that is followed through many sub-steps inside one step, "
        "so there is no single clean image"
    ),
    "RFD4ProteinaScheduler": "it samples protein structures",
    "RePaintScheduler": (
        "it pastes the known part of an image back at each step, which can undo the shield; "
        "use an inpainting pipeline with another scheduler"
    ),
    "ScoreSdeVeScheduler": (
        "it has no step: a predictor and a corrector get the score in step_pred and step_correct; "
        "use EDMEulerScheduler for such models"
    ),
    "ScoreSdeVpScheduler": "diffusers has deprecated it, and it has no step; use DDPMScheduler",
    "VQDiffusionScheduler": _TOKENS,
}
