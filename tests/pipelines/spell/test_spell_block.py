from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.modular_pipelines import (
    ModularPipelineBlocks,
    SequentialPipelineBlocks,
    StableDiffusionXLAutoBlocks,
)

import hub_models.spell
from hub_models.published_code import closure, relative_imports
from hub_models.spell.spell_block import SpellDenoiseBlock
from hub_models.spell.spell_errors import SpellError

from . import tiny_pipelines
from .tiny_pipelines import TEXT

FOLDER = Path(next(iter(hub_models.spell.__path__)))


def shielded_blocks(wrap: Any = SpellDenoiseBlock) -> StableDiffusionXLAutoBlocks:
    blocks = StableDiffusionXLAutoBlocks()
    steps = blocks.sub_blocks["denoise"].sub_blocks
    steps["denoise"] = wrap(steps["denoise"])
    return blocks


def modular(blocks: SequentialPipelineBlocks) -> Any:
    """A modular pipeline of SDXL with tiny networks; equal ones each time."""
    pipe = blocks.init_pipeline()
    parts = tiny_pipelines.sdxl().components
    pipe.update_components(
        **{name: parts[name] for name in pipe.component_names if parts.get(name) is not None}
    )
    return pipe


def latents(pipe: Any, **arguments: Any) -> torch.Tensor:
    return run(pipe, **arguments).get("latents")


def run(pipe: Any, **arguments: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    return pipe(**{**TEXT, "num_inference_steps": 4, "generator": generator, **arguments})


@pytest.fixture
def plain() -> torch.Tensor:
    return latents(modular(StableDiffusionXLAutoBlocks()))


def smallest_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.cdist(one.double().flatten(1), other.double().flatten(1)).min())


def test_without_a_shield_latents_are_those_of_the_block_bit_for_bit(plain: torch.Tensor):
    pipe = modular(shielded_blocks())
    scheduler = pipe.scheduler
    before = run(pipe)
    assert torch.equal(before.get("latents"), plain)
    assert before.get("shield_record") is None
    latents(pipe, shield=plain, shield_radius=3.0)
    assert pipe.scheduler is scheduler
    assert torch.equal(latents(pipe), plain), "a trace of a shield is left"


def test_images_are_outside_the_shield(plain: torch.Tensor):
    radius = 0.2 * float(plain[0].norm())
    state = run(modular(shielded_blocks()), shield=plain, shield_radius=radius)
    made, record = state.get("latents"), state.get("shield_record")
    assert smallest_distance(made, plain) >= radius
    assert torch.equal(record.final, made)
    assert (record.active_steps > 0).all()
    assert len(state.get("images")) == 2


def test_settings_reach_the_shield(plain: torch.Tensor):
    pipe = modular(shielded_blocks())
    late = run(pipe, shield=plain, shield_radius=5.0, shield_start=0.5).get("shield_record")
    assert not any(step.balls.any() for step in late.steps[:2])
    wide = 1.5 * float((plain[0] - plain[1]).norm())
    apart = run(pipe, shield_intra_batch=True, shield_radius=wide).get("latents")
    assert (apart[0] - apart[1]).norm() > (plain[0] - plain[1]).norm()


def test_the_shield_is_kept_where_a_workflow_is_chosen(plain: torch.Tensor):
    """Choosing takes sequences of blocks apart."""
    chosen = modular(shielded_blocks().get_workflow("text2image"))
    assert smallest_distance(latents(chosen, shield=plain, shield_radius=3.0), plain) >= 3.0


def test_an_error_leaves_no_shield_behind(plain: torch.Tensor):
    pipe = modular(shielded_blocks())
    with pytest.raises(SpellError, match="references have shape"):
        run(pipe, shield=plain[:, :1], shield_radius=3.0)
    with pytest.raises(SpellError, match="radius is missing"):
        run(pipe, shield=plain)
    assert torch.equal(latents(pipe), plain)


def test_it_names_every_sibling_that_it_needs():
    needed = {path.stem for path in closure(["spell_block.py"], FOLDER)} - {"spell_block"}
    assert relative_imports(FOLDER / "spell_block.py") == needed


def test_it_loads_as_remote_code(tmp_path: Path, plain: torch.Tensor):
    SpellDenoiseBlock(StableDiffusionXLAutoBlocks().sub_blocks["denoise"]).save_pretrained(tmp_path)
    for path in closure(["spell_block.py"], FOLDER):
        shutil.copy(path, tmp_path)

    def loaded(denoise: ModularPipelineBlocks) -> ModularPipelineBlocks:
        return ModularPipelineBlocks.from_pretrained(tmp_path, trust_remote_code=True, denoise=denoise)

    blocks = shielded_blocks(loaded)
    assert "diffusers_modules" in type(blocks.sub_blocks["denoise"].sub_blocks["denoise"]).__module__
    assert smallest_distance(latents(modular(blocks), shield=plain, shield_radius=3.0), plain) >= 3.0
