"""From a path, URL, bytes or PIL image to an upright 8-bit RGB image, or a typed error.

Published code: copied beside checkpoints, so the pipeline there reads images exactly as the library does.
"""

from __future__ import annotations

import http.client
import io
import urllib.request
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .errors import ImageReadError

ImageInput = str | PathLike[str] | bytes | Image.Image

#: What is decoded. PIL knows more formats, but some of them start programs (EPS runs Ghostscript).
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
#: Largest side and area that is decoded. Beyond it, a small file can claim gigabytes (decompression bomb).
MAX_SIDE = 16_384
MAX_PIXELS = 89_000_000
#: Below this there is nothing to see, and arrays of 1 x 1 x 3 leave the channel axis ambiguous.
MIN_SIDE = 4
#: Largest download, in bytes.
MAX_DOWNLOAD = 64 * 2**20


def read_image(source: ImageInput, name: str | None = None) -> Image.Image:
    """Read one image.

    Grey, CMYK, palette and 16-bit images are converted, transparency is laid on white, the first frame of an
    animation is taken, and the EXIF orientation is applied, so that people and models see the same picture.

    Args:
        source: a path, an ``http(s)://`` URL, the bytes of a file, or a PIL image.
        name: how to call the image in an error; by default the path or URL.

    Returns:
        An upright RGB image, at least ``MIN_SIDE`` pixels on each side.

    Raises:
        ImageReadError: it is not an image, cut short, unreadable, too small, or larger than ``MAX_SIDE``
            pixels on a side or ``MAX_PIXELS`` in all.
    """
    name = name or (str(source) if isinstance(source, str | PathLike) else "the image")
    content = b"" if isinstance(source, Image.Image) else _read_bytes(source, name)
    try:
        if isinstance(source, Image.Image):
            return _upright_rgb(source, name)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _upright_rgb(image, name)
    except ImageReadError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(name, "claims more pixels than is safe to decode") from None
    except Image.UnidentifiedImageError:
        raise ImageReadError(f"{name}: not an image; pass a JPEG, PNG, WebP or similar file") from None
    except Exception as error:  # damaged bytes make PIL's decoders raise nearly anything
        raise ImageReadError(f"{name}: damaged or cut short ({error}); fetch the file again") from error


def _read_bytes(source: str | PathLike[str] | bytes, name: str) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return _download(source)
    try:
        return Path(source).read_bytes()
    except FileNotFoundError:
        raise ImageReadError(f"{name}: no such file; check the path") from None
    except OSError as error:
        raise ImageReadError(f"{name}: cannot be read ({error.strerror}); check its permissions") from error
    except ValueError as error:
        raise ImageReadError(f"{name!r}: not a path ({error}); check the path") from error


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            content: bytes = response.read(MAX_DOWNLOAD + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ImageReadError(f"{url}: cannot be fetched ({error}); check address and network") from error
    if len(content) > MAX_DOWNLOAD:
        raise ImageReadError(f"{url}: larger than {MAX_DOWNLOAD >> 20} MiB; download and shrink it first")
    return content


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise _too_large(name, f"is {width} x {height} pixels")
    if min(width, height) < MIN_SIDE:
        raise ImageReadError(
            f"{name}: is {width} x {height} pixels, too small to see anything; use at least {MIN_SIDE} a side"
        )
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        return _from_deep_grey(upright, name).convert("RGB")
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return upright.convert("RGB")


def _from_deep_grey(image: Image.Image, name: str) -> Image.Image:
    """16-bit (or 32-bit integer) grey to 8-bit; PIL's own conversion clips at 255 and turns scans white."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65_535:
        raise ImageReadError(f"{name}: grey values outside 0 to 65535; rescale it to 8 or 16 bits first")
    if image.mode == "F" and values.max() <= 1:
        values = values * 255
    elif values.max() > 255 or image.mode.startswith("I;16"):
        values = values / 257
    return Image.fromarray(np.round(values).astype(np.uint8))


def _too_large(name: str, what: str) -> ImageReadError:
    return ImageReadError(
        f"{name}: {what}; the limit is {MAX_SIDE} pixels a side and {MAX_PIXELS // 10**6} megapixels: "
        "shrink it first"
    )
