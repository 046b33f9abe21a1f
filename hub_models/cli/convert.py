"""``hub-models convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth.tar that the PVU authors released.")],
    backbone: Annotated[
        str, typer.Option(help="The timm architecture, such as vit_base_patch16_224.augreg_in21k.")
    ],
    sha256: Annotated[
        str, typer.Option(help="Of the file, from a source you trust; checked before opening.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
) -> None:
    """Convert a released checkpoint of Pretrained Visual Uncertainties."""
    from ..publishing.convert import convert_authors_checkpoint

    folder = convert_authors_checkpoint(checkpoint, backbone, out, sha256)
    print(f"wrote {folder}; next, for percentiles: hub-models recalibrate {folder} --images DIR")


COMMANDS = {"convert": convert}
