"""EXPERIMENTAL: a block of a modular pipeline that puts a shield around the denoising.

The modular pipelines of diffusers are experimental themselves, and this block may change with them; the custom
pipelines (`pipeline.py` and its like) are the stable way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.modular_pipelines import ModularPipelineBlocks
from diffusers.modular_pipelines.modular_pipeline import PipelineState
from diffusers.modular_pipelines.modular_pipeline_utils import (
    ComponentSpec,
    ConfigSpec,
    InputParam,
    OutputParam,
)

# diffusers copies the siblings that an entry file names, and no others.
from .spell_attachment import attach_spell
from .spell_errors import SpellError  # noqa: F401
from .spell_memory import MemoryReferences  # noqa: F401
from .spell_prediction import Prediction  # noqa: F401
from .spell_protected import Protected
from .spell_record import GenerationRecord
from .spell_refused import REFUSED  # noqa: F401
from .spell_repellency import Push  # noqa: F401
from .spell_scheduler import Attachment  # noqa: F401
from .spell_shield import Shield  # noqa: F401
from .spell_union import ray_exit  # noqa: F401

_SHIELD, _PREFIX, _RECORD = "shield", "shield_", "shield_record"
_SETTINGS = (
    InputParam(
        "shield_radius", float, description="Of the ball around each reference; needed with a shield."
    ),
    InputParam(
        "shield_overcompensation", float, 1.6, description="Factor of the push; 1 lands on the sphere."
    ),
    InputParam("shield_strength", float, 1.0, description="Share of the push that is applied, in (0, 1]."),
    InputParam("shield_start", float, 0.0, description="Share of the schedule where the shield begins."),
    InputParam("shield_stop", float, 1.0, description="Share of the schedule where the shield ends."),
    InputParam("shield_intra_batch", bool, False, description="Keep the images of a batch apart."),
    InputParam("shield_groups", Sequence[int], description="Of each image; one group is kept apart."),
)


class SpellDenoiseBlock(ModularPipelineBlocks):
    """EXPERIMENTAL: a denoise block, of any modular pipeline, whose call takes a shield.

    It takes the place of the block that it is given::

        blocks = StableDiffusionXLAutoBlocks()
        steps = blocks.sub_blocks["denoise"].sub_blocks
        steps["denoise"] = SpellDenoiseBlock(steps["denoise"])
        pipe = blocks.init_pipeline(...)
        pipe(prompt=..., shield=references, shield_radius=...)

    The pipeline's scheduler is shielded while that block runs, and never beyond: that is why the block is wrapped
    and not joined by two others, one of which an error would skip. Inputs: those of the block; ``shield``, references
    (N, *sample shape) or a `ReferenceSet`; and the settings of `attach_spell`, each with ``shield_`` before its name.
    Output: ``shield_record``, a `GenerationRecord`, None without a shield; then latents are the block's own, bit for
    bit. Inpainting pastes the original over the last sample, so what it returns is not shielded where it is kept.

    Args:
        denoise: runs the loop; the timesteps of the scheduler are set before it.
    """

    def __init__(self, denoise: ModularPipelineBlocks) -> None:
        super().__init__()
        # Not a sub-block: choosing a workflow replaces a block by its sub-blocks, which would drop the shield.
        self._denoise = denoise

    @property
    def model_name(self) -> str | None:
        """Of the pipelines that the denoise block belongs to."""
        return self._denoise.model_name

    @property
    def description(self) -> str:
        """For `repr` and the documentation that diffusers makes."""
        return f"EXPERIMENTAL: keeps away from protected references.\n{self._denoise.description}"

    @property
    def expected_components(self) -> list[ComponentSpec]:
        """Those of the denoise block, its scheduler among them."""
        return self._denoise.expected_components

    @property
    def expected_configs(self) -> list[ConfigSpec]:
        """Those of the denoise block."""
        return self._denoise.expected_configs

    @property
    def inputs(self) -> list[InputParam]:
        """Those of the denoise block, the shield and its settings."""
        shield = InputParam(_SHIELD, torch.Tensor | Protected, description="Protected references, or None.")
        return [*self._denoise.inputs, shield, *_SETTINGS]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """Those of the denoise block, and what the shield did."""
        record = OutputParam(_RECORD, GenerationRecord, description="What the shield did, None without one.")
        return [*self._denoise.intermediate_outputs, record]

    @torch.no_grad()
    def __call__(self, components: Any, state: PipelineState) -> tuple[Any, PipelineState]:
        """Run the denoise block, under a shield if one is given.

        Raises:
            SpellError, ReferencesError, UnsupportedSchedulerError: as `attach_spell`.
        """
        shield = state.get(_SHIELD)
        settings = {p.name.removeprefix(_PREFIX): state.get(p.name, p.default) for p in _SETTINGS}
        if shield is None and not settings["intra_batch"]:
            state.set(_RECORD, None)
            return self._denoise(components, state)
        with attach_spell(components, shield, **settings) as attachment:
            components, state = self._denoise(components, state)
        state.set(_RECORD, attachment.record)
        return components, state
