from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from hub_models.errors import FeatureCacheError
from hub_models.training.cache_file import CacheFile

WIDTHS = {"pooled": 5, "stages": 3}


def arrays(rows: int, seed: int = 0, widths: dict[str, int] = WIDTHS) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=(rows, width)).astype(np.float32) for name, width in widths.items()}


def reserved(path: Path, rows: int = 10) -> CacheFile:
    file = CacheFile(path / "features.safetensors", WIDTHS, rows)
    file.reserve()
    return file


def test_the_file_is_safetensors_at_every_moment(tmp_path: Path) -> None:
    file = reserved(tmp_path)
    with safe_open(file.path, "np") as opened:
        assert set(opened.keys()) == set(WIDTHS)
        assert all(not opened.get_tensor(name).any() for name in WIDTHS)
    rows = arrays(4)
    file.write(3, rows)
    with safe_open(file.path, "np") as opened:
        for name, expected in rows.items():
            found = opened.get_tensor(name)
            np.testing.assert_array_equal(found[3:7], expected)
            assert not found[:3].any()
            assert not found[7:].any()


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.text("abcü_", min_size=1, max_size=8), st.integers(1, 7), min_size=1, max_size=4),
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_blocks_in_any_order_give_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, widths: dict[str, int], blocks: list[int], random: object
) -> None:
    path = tmp_path_factory.mktemp("cache") / "features.safetensors"
    expected = arrays(sum(blocks), widths=widths)
    file = CacheFile(path, widths, sum(blocks))
    file.reserve()
    file.check_size()
    starts = [sum(blocks[:i]) for i in range(len(blocks))]
    pieces = list(zip(starts, blocks, strict=True))
    random.shuffle(pieces)  # type: ignore[attr-defined]
    for start, count in pieces:
        file.write(start, {name: array[start : start + count] for name, array in expected.items()})
    with safe_open(path, "np") as opened:
        for name, array in expected.items():
            np.testing.assert_array_equal(file.read(name), array)
            np.testing.assert_array_equal(opened.get_tensor(name), array)


def test_reading_is_memory_mapped_and_read_only(tmp_path: Path) -> None:
    file = reserved(tmp_path)
    mapped = file.read("stages")
    assert isinstance(mapped, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        mapped[0, 0] = 1
    file.write(0, arrays(10))
    np.testing.assert_array_equal(mapped, arrays(10)["stages"])


def test_reserving_twice_keeps_what_was_written(tmp_path: Path) -> None:
    reserved(tmp_path).write(0, arrays(10))
    file = reserved(tmp_path)
    np.testing.assert_array_equal(file.read("pooled"), arrays(10)["pooled"])


def test_a_file_cut_short_is_named_with_its_sizes(tmp_path: Path) -> None:
    file = reserved(tmp_path)
    with file.path.open("r+b") as content:
        content.truncate(file.size - 4)
    message = (
        rf"features\.safetensors: has {file.size - 4} of {file.size} bytes.*delete its folder {tmp_path}"
    )
    with pytest.raises(FeatureCacheError, match=message):
        file.check_size()
    with pytest.raises(FeatureCacheError, match="cut short"):
        file.reserve()
    file.path.unlink()
    with pytest.raises(FeatureCacheError, match=f"has 0 of {file.size} bytes"):
        file.check_size()


FULL_DISK = """
import resource, sys
from pathlib import Path
from hub_models.errors import FeatureCacheError
from hub_models.training.cache_file import CacheFile
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    CacheFile(Path(sys.argv[1]), {"pooled": 100}, 100).reserve()
except FeatureCacheError as error:
    print(error)
"""


def test_a_full_disk_is_found_when_reserving(tmp_path: Path) -> None:
    path = tmp_path / "features.safetensors"
    run = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True)
    assert f"{path}: cannot hold 0.00 GiB (File too large); free some space or set" in run.stdout, run.stderr
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_is_a_typed_error(tmp_path: Path) -> None:
    file = reserved(tmp_path)
    file.path.unlink()
    file.path.symlink_to("/dev/full")
    with pytest.raises(FeatureCacheError, match=r"cannot hold .*No space left on device.*is kept"):
        file.write(0, arrays(10))
