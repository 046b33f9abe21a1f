"""Photos for a first look: those that installed packages carry, and degraded copies of them. No download."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import Image

from .errors import MissingExtraError
from .image_sources import ImageSource, read_source_image
from .named_files import NamedFilesSource
from .training.views import add_noise, blur, centre_crop

#: What a photo shows -> its file below the folder of a package. Neither drawings nor a thing twice; the last
#: three were taken through a microscope or an ophthalmoscope, so they are unlike ordinary photos.
PHOTOS = {
    "astronaut": "skimage/data/astronaut.png",
    "brick wall": "skimage/data/brick.png",
    "cameraman": "skimage/data/camera.png",
    "cat": "skimage/data/chelsea.png",
    "coffee": "skimage/data/coffee.png",
    "coins": "skimage/data/coins.png",
    "dahlia": "sklearn/datasets/images/flower.jpg",
    "deep field": "skimage/data/hubble_deep_field.jpg",
    "Grace Hopper": "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    "grass": "skimage/data/grass.png",
    "gravel": "skimage/data/gravel.png",
    "handwriting": "skimage/data/text.png",
    "moon": "skimage/data/moon.png",
    "motorcycle": "skimage/data/motorcycle_left.png",
    "moving clock": "skimage/data/clock_motion.png",
    "pagoda": "sklearn/datasets/images/china.jpg",
    "printed page": "skimage/data/page.png",
    "rocket": "skimage/data/rocket.jpg",
    "cell": "skimage/data/cell.png",
    "retina": "skimage/data/retina.jpg",
    "tissue": "skimage/data/ihc.png",
}
DEGRADATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "crop": centre_crop,
    "blur": blur,
    "noise": add_noise,
}


def sample_photos() -> NamedFilesSource:
    """The `PHOTOS`, about twenty.

    Raises:
        MissingExtraError: one of the packages that carry them is not installed.
    """
    return packaged_photos(PHOTOS)


def packaged_photos(places: dict[str, str]) -> NamedFilesSource:
    """Photos inside installed packages, which are found without being imported.

    Args:
        places: name -> ``package/folder/.../file``.

    Raises:
        MissingExtraError: a package is not installed.
    """
    return NamedFilesSource({name: _locate(place) for name, place in places.items()})


class DegradedCopies:
    """Copies of photos that lost information, as an `ImageSource`: of each photo one by every degradation.

    Copy ``i`` is of photo ``i // len(DEGRADATIONS)`` and called ``<photo>, <degradation>``. The same copy has
    the same bytes each time.

    Args:
        photos: what to copy.
        severity: 0 for a slight loss, 1 for nearly all: a crop to a tenth of each side, a blur of a twentieth
            of the short side, noise of 90 grey levels.
    """

    labels = None
    class_names = None

    def __init__(self, photos: ImageSource, severity: float = 1.0) -> None:
        self.photos, self.severity = photos, severity
        self.names = [f"{photo}, {degradation}" for photo in photos.names for degradation in DEGRADATIONS]

    def __len__(self) -> int:
        return len(self.names)

    def read_bytes(self, index: int) -> bytes:
        """The copy as a PNG file."""
        photo, kind = divmod(index, len(DEGRADATIONS))
        degrade = list(DEGRADATIONS.values())[kind]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(index)
            copy = degrade(read_source_image(self.photos, photo), self.severity)
        buffer = io.BytesIO()
        copy.save(buffer, "PNG")
        return buffer.getvalue()


def _locate(place: str) -> Path:
    package, _, file = place.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"the sample photos need {package}; pip install 'hub-models[demo]'")
    return Path(spec.submodule_search_locations[0], file)
