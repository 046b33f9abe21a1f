from __future__ import annotations

import base64
import io

from PIL import Image

from hub_models.thumbnails import data_uri

from .generated_images import draw_image


def test_a_large_image_shrinks_and_keeps_its_proportions() -> None:
    image = draw_image(0).resize((400, 200))
    head, _, code = data_uri(image, side=100).partition(",")
    assert head == "data:image/jpeg;base64"
    small = Image.open(io.BytesIO(base64.b64decode(code)))
    assert small.size == (100, 50)
    assert image.size == (400, 200)


def test_a_small_image_is_not_enlarged() -> None:
    code = data_uri(draw_image(0, side=20), side=100).partition(",")[2]
    assert max(Image.open(io.BytesIO(base64.b64decode(code))).size) == 20
