"""What the commands of ``hub-models shield`` take: folders, images, the VAE of a pipeline."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import HubModelsError

if TYPE_CHECKING:
    from ..image_sources import ImageSource

Folder = Annotated[Path, typer.Argument(help="Folder of the set.")]
Images = Annotated[
    Path, typer.Option(help="Folder of images, tar, one image, or folder of a Parquet data set.")
]
Vae = Annotated[
    str | None,
    typer.Option(help="Folder or Hub id of the pipeline whose VAE encodes; none for a model of pixels."),
]


class DecodedImages(Sequence[Any]):
    """Images of a source, decoded when they are asked for."""

    def __init__(self, source: ImageSource) -> None:
        self._source = source

    def __len__(self) -> int:
        """Number of images."""
        return len(self._source)

    def __getitem__(self, which: int | slice) -> Any:
        """One image, or those of a slice."""
        from ..image_sources import read_source_image

        if isinstance(which, slice):
            return [read_source_image(self._source, i) for i in range(*which.indices(len(self)))]
        return read_source_image(self._source, which)


def load_vae(name: str | None, device: Any) -> Any | None:
    """The VAE of a pipeline's folder or repo, or one that lies there by itself; None where none is named.

    Raises:
        HubModelsError: there is none that can be loaded.
    """
    if name is None:
        return None
    from diffusers import AutoModel

    folder = {"subfolder": "vae"} if not Path(name, "config.json").is_file() else {}
    try:
        return AutoModel.from_pretrained(name, **folder).eval().to(device)
    except (OSError, ValueError) as error:
        raise HubModelsError(f"--vae {name}: holds no VAE that can be loaded ({error})") from error


def fastest_device() -> Any:
    """The first GPU, or the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def shown_progress(description: str, total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, unless ``quiet``."""
    from ..progress import progress_bar

    with progress_bar(description, total, shown=not quiet and sys.stderr.isatty()) as advance:
        yield advance
