"""``hub-models shield build``, ``add``, ``remove`` and ``verify``: sets of protected references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .expected_errors import expected_errors
from .options import Json, print_json
from .shield_inputs import DecodedImages, Folder, Images, Vae, fastest_device, load_vae, shown_progress
from .shield_radius import USUAL_RHO, calibrate, meaning_figures, meaning_of, radius

if TYPE_CHECKING:
    from ..spell.spell_radius_meaning import RadiusMeaning
    from ..spell.spell_references import ReferenceSet

app = typer.Typer(help="Sets of protected references for shielded generation.", no_args_is_help=True)
app.command()(radius)
app.command()(calibrate)

BatchSize = Annotated[int, typer.Option(help="Images encoded at once.")]


@app.command()
def build(
    folder: Folder,
    images: Images,
    resolution: Annotated[int, typer.Option(help="Side of the images that the model generates, in pixels.")],
    vae: Vae = None,
    channels: Annotated[
        int | None, typer.Option(help="1 for grey; by default those of the VAE, or 3.")
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Also protect the mirrored images.")] = False,
    crop: Annotated[
        list[float] | None,
        typer.Option(help="Also protect centre crops that take this share off each side, such as 0.1."),
    ] = None,
    packed: Annotated[
        bool, typer.Option("--packed", help="Pack the latents, for a model whose samples are packed (FLUX).")
    ] = False,
    radius: Annotated[
        float | None,
        typer.Option(
            help=f"Say what this radius would mean; by default {USUAL_RHO} of the median distance of two references."
        ),
    ] = None,
    batch_size: BatchSize = 8,
    as_json: Json = False,
) -> None:
    """Encode images as references and say what a radius means; run again to go on after an interruption."""
    with expected_errors():
        from accelerate import Accelerator

        from ..image_sources import open_images
        from ..spell.spell_references import ReferenceSet

        source = open_images(images)
        accelerator = Accelerator()
        encoder = load_vae(vae, accelerator.device)
        with shown_progress("encode", len(source), as_json) as progress:
            built = ReferenceSet.build(
                DecodedImages(source),
                folder=folder,
                vae=encoder,
                resolution=resolution,
                channels=channels,
                names=source.names,
                flip=flip,
                crops=crop or (),
                packed=packed,
                batch_size=batch_size,
                accelerator=accelerator,
                progress=progress,
            )
        if accelerator.is_main_process:
            with shown_progress("index", len(built), as_json) as progress:
                built.prepare(progress)
            _report(built, as_json, meaning_of(built, radius, DecodedImages(source), encoder))


@app.command()
def add(
    folder: Folder, images: Images, vae: Vae = None, batch_size: BatchSize = 8, as_json: Json = False
) -> None:
    """Protect more images, encoded as the set's own were."""
    with expected_errors():
        from ..image_sources import open_images
        from ..spell.spell_references import ReferenceSet

        source = open_images(images)
        opened = ReferenceSet.open(folder)
        with shown_progress("encode", len(source), as_json) as progress:
            opened.add(
                DecodedImages(source),
                vae=load_vae(vae, fastest_device()),
                names=source.names,
                batch_size=batch_size,
                progress=progress,
            )
        _report(opened, as_json)


@app.command()
def remove(
    folder: Folder,
    names: Annotated[list[str], typer.Argument(help="Names of images, as they were given to build or add.")],
    as_json: Json = False,
) -> None:
    """Stop protecting images and erase what the set holds of them."""
    with expected_errors():
        from ..spell.spell_references import ReferenceSet

        opened = ReferenceSet.open(folder)
        opened.remove(names)
        _report(opened, as_json)


@app.command()
def verify(folder: Folder, as_json: Json = False) -> None:
    """Compare every byte with the checksums of the set."""
    with expected_errors():
        from ..spell.spell_references import ReferenceSet

        opened = ReferenceSet.open(folder)
        opened.verify()
        _report(opened, as_json)


def _report(references: ReferenceSet, as_json: bool, meaning: RadiusMeaning | None = None) -> None:
    typical = references.typical_distance()
    size = sum(path.stat().st_size for path in references.folder.iterdir())
    figures: dict[str, Any] = {
        "folder": references.folder,
        "references": len(references),
        "made_for": references.origin.told(),
        "views": list(references.origin.views),
        "bytes": size,
        "median_distance": None if typical != typical else typical,
    }
    if meaning is not None:
        figures["radius"] = meaning_figures(meaning)
    if as_json:
        print_json(figures)
        return
    print(
        f"{references.folder}: {len(references):,} references for {references.origin.told()}, {size:,} bytes"
    )
    if figures["median_distance"] is not None:
        print(f"median distance of two references {typical:.4g}; shields work well up to 0.4 of it")
    if meaning is not None:
        print(meaning)
