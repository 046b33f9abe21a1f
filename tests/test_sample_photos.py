from __future__ import annotations

import socket
import subprocess
import sys

import numpy as np
import pytest

from hub_models.errors import MissingExtraError
from hub_models.image_sources import SubsetSource, read_source_image
from hub_models.sample_photos import DEGRADATIONS, PHOTOS, DegradedCopies, packaged_photos, sample_photos


def test_every_photo_is_there_readable_and_large_enough_to_see_something() -> None:
    photos = sample_photos()
    assert len(photos) == len(PHOTOS) >= 15
    for index in range(len(photos)):
        assert min(read_source_image(photos, index).size) >= 150, photos.names[index]


def test_no_two_photos_are_alike() -> None:
    """Not even at the size where two shots of one scene look the same."""
    photos = sample_photos()
    tiny = np.stack(
        [
            np.asarray(read_source_image(photos, i).convert("L").resize((16, 16)), dtype=float).ravel()
            for i in range(len(photos))
        ]
    )
    correlation = np.corrcoef(tiny)
    np.fill_diagonal(correlation, 0)
    assert correlation.max() < 0.9


def test_nothing_is_downloaded_and_no_package_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    photos = sample_photos()
    assert all(photos.read_bytes(index) for index in range(len(photos)))
    code = (
        "import sys; from hub_models.sample_photos import sample_photos; sample_photos();"
        "print({'skimage', 'sklearn', 'matplotlib', 'pooch'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_a_missing_package_is_named_with_the_command() -> None:
    with pytest.raises(MissingExtraError, match=r"need not_installed; pip install 'hub-models\[demo\]'"):
        packaged_photos({"thing": "not_installed/data/thing.png"})


def test_copies_are_of_each_photo_by_each_degradation_and_always_the_same() -> None:
    photos = SubsetSource(sample_photos(), [4, 13])
    copies = DegradedCopies(photos)
    assert copies.names == [f"{photo}, {kind}" for photo in photos.names for kind in DEGRADATIONS]
    for index in range(len(copies)):
        assert copies.read_bytes(index) == copies.read_bytes(index)
        copy = read_source_image(copies, index)
        original = read_source_image(photos, index // len(DEGRADATIONS))
        assert copy.size == original.size
        assert copy.tobytes() != original.tobytes()


def test_more_severe_copies_are_farther_from_the_photo() -> None:
    photos = SubsetSource(sample_photos(), [4])
    original = np.asarray(read_source_image(photos, 0), dtype=float)

    def errors(severity: float) -> list[float]:
        copies = DegradedCopies(photos, severity)
        return [
            float(np.square(np.asarray(read_source_image(copies, i)) - original).mean())
            for i in range(len(copies))
        ]

    assert all(mild < severe for mild, severe in zip(errors(0.1), errors(1.0), strict=True))
