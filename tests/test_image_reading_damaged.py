"""Whatever the bytes are: an upright RGB image or an `ImageReadError`, never anything else."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hub_models.errors import ImageReadError
from hub_models.image_reading import MIN_SIDE, read_image

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning")


def encode(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def read_or_refuse(content: bytes) -> None:
    """Anything but an image or an `ImageReadError` fails the test by itself."""
    with contextlib.suppress(ImageReadError):
        image = read_image(content)
        assert image.mode == "RGB"
        assert min(image.size) >= MIN_SIDE


SIGNATURES = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBP"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SIGNATURES), st.binary(max_size=300))
def test_random_bytes_never_raise_anything_else(signature: bytes, noise: bytes) -> None:
    read_or_refuse(signature + noise)


EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010F] = 6, "maker"
FILES = [
    encode(kind, **({"exif": EXIF} if kind in ("JPEG", "PNG", "WEBP") else {}))
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM")
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8))
def test_a_damaged_file_never_raises_anything_else(content: bytes, damage: list[tuple[int, int]]) -> None:
    damaged = bytearray(content)
    for position, value in damage:
        damaged[position % len(damaged)] = value
    read_or_refuse(bytes(damaged))
