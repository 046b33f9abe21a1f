"""Complete Hub repositories of diffusers pipelines: code alone, or our generators with their weights.

diffusers' own `save_pretrained` copies no code and does not name the pipeline's file in model_index.json, so what it
writes does not load.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError
from ..generation.checkpoints import GOLDEN, load_pipeline, open_model
from ..manifest import write_manifest
from ..published_code import closure
from ..repository import replace_folder
from .card_pictures import PICTURE, picture_path
from .export import code_licence, documents
from .pipeline_card import pipeline_card
from .provenance import about, about_checkpoint

#: What diffusers looks for in a repository.
PIPELINE = "pipeline.py"
GENERATOR_ENTRY = "spell_class_conditional.py"


@dataclass(frozen=True)
class PipelineFamily:
    """A pipeline of diffusers that can be shielded.

    Attributes:
        entry: its file below pipelines/spell.
        base: the class that it adds the shield to.
        words: the models it serves.
        sample: the shape of its samples, in words.
        arguments: of a call, as its card shows it.
    """

    entry: str
    base: str
    words: str
    sample: str
    arguments: str = '"a prompt"'


PIPELINES = {
    "spell-stable-diffusion": PipelineFamily(
        "pipeline.py", "StableDiffusionPipeline", "Stable Diffusion 1 and 2", "(4, H/8, W/8)"
    ),
    "spell-sdxl": PipelineFamily(
        "spell_sdxl.py", "StableDiffusionXLPipeline", "Stable Diffusion XL", "(4, H/8, W/8)"
    ),
    "spell-sd3": PipelineFamily(
        "spell_sd3.py", "StableDiffusion3Pipeline", "Stable Diffusion 3", "(16, H/8, W/8)"
    ),
    "spell-flux": PipelineFamily("spell_flux.py", "FluxPipeline", "FLUX.1", "(H/16 * W/16, 64), packed"),
    "spell-pixart": PipelineFamily("spell_pixart.py", "PixArtSigmaPipeline", "PixArt-Sigma", "(4, H/8, W/8)"),
    "spell-dit": PipelineFamily("spell_dit.py", "DiTPipeline", "DiT by class", "(4, H/8, W/8)", "[207, 360]"),
    "spell-ddpm": PipelineFamily(
        "spell_ddpm.py", "DDPMPipeline", "unconditional DDPM", "(3, H, W) in [-1, 1]", "batch_size=4"
    ),
}


def export_pipeline(name: str, out: Path) -> Path:
    """Write the code-only repository of one family to ``out / name`` and return that folder.

    Raises:
        CheckpointError: the name is unknown, or the place is taken by something else.
    """
    if name not in PIPELINES:
        raise CheckpointError(f"pipeline {name!r} is unknown; choose from {', '.join(PIPELINES)}")
    family = PIPELINES[name]
    with replace_folder(out / name) as folder:
        code = _copy_code(folder, family.entry)
        (folder / "README.md").write_text(pipeline_card(name, family), encoding="utf-8")
        shutil.copyfile(picture_path("spell"), folder / PICTURE)
        (folder / "LICENSE").write_text(code_licence(), encoding="utf-8")
        write_manifest(folder, about(name, "model", "apache-2.0", code))
    return out / name


def export_generator(name: str | Path, out: Path) -> Path:
    """Write the repository of one of our generators, weights included, and return its folder.

    ``DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)`` loads it without this package.

    Raises:
        CheckpointError: there is no such generator, it is damaged, or the place is taken by something else.
    """
    saved = open_model(name)
    pipe = load_pipeline(saved.folder)
    target = out / saved.folder.name
    with replace_folder(target) as folder:
        pipe.save_pretrained(folder)
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        index["_class_name"] = [Path(PIPELINE).stem, type(pipe).__name__]
        (folder / "model_index.json").write_text(
            json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
        code = _copy_code(folder, GENERATOR_ENTRY)
        shutil.copyfile(saved.folder / GOLDEN, folder / GOLDEN)
        for file, content in documents(saved.folder).items():
            (folder / file).write_bytes(content)
        write_manifest(folder, about_checkpoint(saved.folder, code))
    return target


def _copy_code(folder: Path, entry: str) -> list[Path]:
    """The entry file as pipeline.py, and every sibling it needs, byte for byte; returns their sources."""
    code = closure([entry], spell_folder())
    for path in code:
        shutil.copyfile(path, folder / (PIPELINE if path.name == entry else path.name))
    return code


def spell_folder() -> Path:
    """Where the source of the pipelines lies: pipelines/spell in a clone, hub_models/spell once installed."""
    from .. import spell

    return Path(next(iter(spell.__path__)))
