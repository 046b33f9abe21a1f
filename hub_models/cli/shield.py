"""``hub-models shield build``, ``add``, ``remove`` and ``verify``: sets of protected references."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import HubModelsError
from .expected_errors import expected_errors
from .options import Json, print_json

if TYPE_CHECKING:
    from PIL import Image

    from ..image_sources import ImageSource

app = typer.Typer(help="Sets of protected references for shielded generation.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder of the set.")]
Images = Annotated[
    Path, typer.Option(help="Folder of images, tar, one image, or folder of a Parquet data set.")
]
Vae = Annotated[
    str | None,
    typer.Option(help="Folder or Hub id of the pipeline whose VAE encodes; none for a model of pixels."),
]
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
    batch_size: BatchSize = 8,
    as_json: Json = False,
) -> None:
    """Encode images as references; run again to go on after an interruption."""
    with expected_errors():
        from accelerate import Accelerator

        from ..spell.spell_references import ReferenceSet

        source = _open(images)
        accelerator = Accelerator()
        with _progress("encode", len(source), as_json) as progress:
            built = ReferenceSet.build(
                _Decoded(source),
                folder=folder,
                vae=_load_vae(vae, accelerator.device),
                resolution=resolution,
                channels=channels,
                names=source.names,
                flip=flip,
                crops=crop or (),
                batch_size=batch_size,
                accelerator=accelerator,
                progress=progress,
            )
        if accelerator.is_main_process:
            with _progress("index", len(built), as_json) as progress:
                built.prepare(progress)
            _report(built, as_json)


@app.command()
def add(
    folder: Folder, images: Images, vae: Vae = None, batch_size: BatchSize = 8, as_json: Json = False
) -> None:
    """Protect more images, encoded as the set's own were."""
    with expected_errors():
        import torch

        from ..spell.spell_references import ReferenceSet

        source = _open(images)
        opened = ReferenceSet.open(folder)
        with _progress("encode", len(source), as_json) as progress:
            opened.add(
                _Decoded(source),
                vae=_load_vae(vae, torch.device("cuda" if torch.cuda.is_available() else "cpu")),
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


class _Decoded:
    """Images of a source, decoded when they are asked for."""

    def __init__(self, source: ImageSource) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, which: int | slice) -> Image.Image | list[Image.Image]:
        from ..image_sources import read_source_image

        if isinstance(which, slice):
            return [read_source_image(self._source, i) for i in range(*which.indices(len(self)))]
        return read_source_image(self._source, which)


def _open(images: Path) -> ImageSource:
    from ..image_sources import open_images

    return open_images(images)


def _load_vae(name: str | None, device: Any) -> Any | None:
    """The VAE of a pipeline's folder or repo, or one that lies there by itself."""
    if name is None:
        return None
    from diffusers import AutoModel

    folder = {"subfolder": "vae"} if not Path(name, "config.json").is_file() else {}
    try:
        return AutoModel.from_pretrained(name, **folder).eval().to(device)
    except (OSError, ValueError) as error:
        raise HubModelsError(f"--vae {name}: holds no VAE that can be loaded ({error})") from error


def _report(references: Any, as_json: bool) -> None:
    typical = references.typical_distance()
    size = sum(path.stat().st_size for path in references.folder.iterdir())
    figures = {
        "folder": references.folder,
        "references": len(references),
        "made_for": references.origin.told(),
        "views": list(references.origin.views),
        "bytes": size,
        "median_distance": None if typical != typical else typical,
    }
    if as_json:
        print_json(figures)
        return
    print(
        f"{references.folder}: {len(references):,} references for {references.origin.told()}, {size:,} bytes"
    )
    if figures["median_distance"] is not None:
        print(f"median distance of two references {typical:.4g}; shields work well up to 0.4 of it")


@contextmanager
def _progress(description: str, total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    from ..progress import progress_bar

    with progress_bar(description, total, shown=not quiet and sys.stderr.isatty()) as advance:
        yield advance
