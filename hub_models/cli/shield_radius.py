"""``hub-models shield radius`` and ``calibrate``: what a radius means, and which one suits a generator."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .expected_errors import expected_errors
from .options import Json, print_json
from .shield_inputs import DecodedImages, Folder, Vae, fastest_device, load_vae

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spell.spell_protected import Protected
    from ..spell.spell_radius_meaning import RadiusMeaning
    from ..spell.spell_references import ReferenceSet

USUAL_RHO = 0.3  # where none is asked for: wide, and still searched fast
SomeImages = Annotated[
    Path | None, typer.Option("--images", help="Some of the protected images, to measure copies of them.")
]


def radius(
    folder: Folder,
    radius: Annotated[
        float | None, typer.Option(help=f"By default {USUAL_RHO} of the median distance of two references.")
    ] = None,
    images: SomeImages = None,
    vae: Vae = None,
    as_json: Json = False,
) -> None:
    """Say what a radius means: references that act on an image, and which copies it catches."""
    with expected_errors():
        from ..spell.spell_references import ReferenceSet

        meaning = meaning_of(ReferenceSet.open(folder), radius, decoded(images), _vae_for(images, vae))
    if as_json:
        print_json(None if meaning is None else meaning_figures(meaning))
    else:
        print(meaning or "one reference has no typical distance; say --radius")


def calibrate(
    references: Annotated[str, typer.Argument(help="Folder of a set, or 'training'.")],
    generator: Annotated[
        str, typer.Option(help="A generator of the zoo, or its folder, that the shield is for.")
    ] = "digits-flow",
    quantile: Annotated[
        float, typer.Option(help="Share of unshielded samples that the radius shall hold.")
    ] = 0.05,
    samples: Annotated[int, typer.Option(min=2, help="Images to generate for it.")] = 64,
    steps: Annotated[int, typer.Option(min=1)] = 20,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    picture: Annotated[Path | None, typer.Option(help="Draw the distances to this PNG.")] = None,
    as_json: Json = False,
) -> None:
    """Find a radius for one of our generators: how near do its samples come without a shield?"""
    with expected_errors():
        from ..generation.checkpoints import load_pipeline
        from ..spell import calibrate_radius

        pipe = load_pipeline(generator)
        pipe.set_progress_bar_config(disable=True)
        found = calibrate_radius(
            pipe,
            protected_by(references, generator),
            quantile,
            samples=samples,
            seed=seed,
            class_labels=list(pipe.config.id2label.values()),
            num_inference_steps=steps,
        )
        if picture is not None:
            found.picture(picture)
    if as_json:
        meant = None if found.meaning is None else meaning_figures(found.meaning)
        print_json({"quantile": quantile, "samples": samples, "radius": found.radius, "meaning": meant})
    else:
        print(found)


def protected_by(name: str, generator: str) -> Protected:
    """The references of a folder, or, for ``training``, the images that a generator was trained on."""
    from ..generation.image_sets import training_images
    from ..spell import ReferenceSet
    from ..spell.spell_memory import MemoryReferences

    if name == "training":
        return MemoryReferences(training_images(generator).samples())
    return ReferenceSet.open(name)


def meaning_of(
    references: ReferenceSet, radius: float | None, images: Sequence[Any] | None, vae: Any | None
) -> RadiusMeaning | None:
    """What a radius, or the usual one, means; None where no radius is given and there is but one reference."""
    from ..spell.spell_radius_meaning import describe_radius

    radius = radius if radius is not None else USUAL_RHO * references.typical_distance()
    return None if math.isnan(radius) else describe_radius(references, radius, images, vae)


def meaning_figures(meaning: RadiusMeaning) -> dict[str, Any]:
    """As it stands in JSON."""
    early, late = meaning.active
    single = math.isnan(meaning.typical_distance)
    return {
        "radius": meaning.radius,
        "rho": None if single else meaning.rho,
        "median_distance": None if single else meaning.typical_distance,
        "active_references": {"first_step": early, "last_step": late},
        "copies": [copy._asdict() for copy in meaning.copies],
    }


def decoded(images: Path | None) -> Any | None:
    """Images of a path, decoded when they are asked for."""
    from ..image_sources import open_images

    return None if images is None else DecodedImages(open_images(images))


def _vae_for(images: Path | None, vae: str | None) -> Any | None:
    return None if images is None else load_vae(vae, fastest_device())
