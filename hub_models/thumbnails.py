"""Small copies of images that a page can carry inside itself."""

from __future__ import annotations

import base64
import io

from PIL import Image


def data_uri(image: Image.Image, side: int) -> str:
    """The image as a JPEG, at most ``side`` pixels long, in the form that ``<img src=...>`` takes."""
    small = image.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
