"""The photos to try: some that the gallery lacks, and degraded copies of some that it has."""

from __future__ import annotations

from pathlib import Path

from hub_models.sample_photos import DegradedCopies, packaged_photos, sample_photos

#: Photos that gradio carries.
CLEAR = {
    "lion": "gradio/media_assets/images/lion.jpg",
    "cheetah": "gradio/media_assets/images/cheetah.jpg",
    "tower": "gradio/media_assets/images/tower.jpg",
}
DEGRADED = ("coffee, crop", "motorcycle, noise", "rocket, crop", "cameraman, blur", "pagoda, blur")
SEVERITY = 0.8


def example_photos(folder: Path) -> list[Path]:
    """The files; degraded copies are written to ``folder``."""
    copies = DegradedCopies(sample_photos(), SEVERITY)
    written = []
    for name in DEGRADED:
        written.append(folder / f"{name}.png")
        written[-1].write_bytes(copies.read_bytes(copies.names.index(name)))
    return [*packaged_photos(CLEAR).paths, *written]
