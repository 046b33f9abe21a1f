from __future__ import annotations

from pathlib import Path

import pytest

from hub_models.errors import ImageSourceError
from hub_models.image_sources import read_source_image
from hub_models.named_files import NamedFilesSource

from .generated_images import draw_image


def test_names_are_the_given_ones_and_bytes_those_of_the_files(tmp_path: Path) -> None:
    draw_image(0).save(tmp_path / "a1b2.png")
    (tmp_path / "c3d4").write_bytes(b"anything")
    source = NamedFilesSource({"holiday.png": tmp_path / "a1b2.png", "notes": tmp_path / "c3d4"})
    assert len(source) == 2
    assert source.names == ["holiday.png", "notes"]
    assert source.labels is None
    assert source.read_bytes(1) == b"anything"
    assert read_source_image(source, 0).tobytes() == draw_image(0).tobytes()


def test_errors_tell_the_name_and_never_the_path(tmp_path: Path) -> None:
    source = NamedFilesSource({"holiday.png": tmp_path / "gone"})
    with pytest.raises(ImageSourceError, match=r"^holiday\.png: cannot be read") as caught:
        source.read_bytes(0)
    assert str(tmp_path) not in str(caught.value)


def test_no_file_is_refused() -> None:
    with pytest.raises(ImageSourceError, match="no image given"):
        NamedFilesSource({})
