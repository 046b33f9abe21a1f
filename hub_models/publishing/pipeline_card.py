"""README.md of a pipeline repository: code alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huggingface_hub import ModelCardData

from .card_pictures import SHIELD_CAPTION
from .card_template import fill

if TYPE_CHECKING:
    from .export_pipeline import PipelineFamily


def pipeline_card(name: str, family: PipelineFamily) -> str:
    """The card of the pipeline of one family."""
    metadata = ModelCardData(
        license="apache-2.0",
        library_name="diffusers",
        tags=["spell", "shielded-generation", f"diffusers:{family.base}"],
    )
    return fill(
        "pipeline",
        metadata,
        name=name,
        words=family.words,
        base=family.base,
        sample=family.sample,
        arguments=family.arguments,
        picture=SHIELD_CAPTION.format(name="digits-flow"),
    )
