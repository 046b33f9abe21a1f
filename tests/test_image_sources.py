from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from hub_models.errors import ImageReadError, ImageSourceError
from hub_models.image_sources import (
    IMAGE_SUFFIXES,
    DatasetSource,
    FileListSource,
    FolderSource,
    ImageSource,
    SubsetSource,
    TarSource,
    open_images,
    read_source_image,
)


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def fill(root: Path, names: list[str]) -> dict[str, bytes]:
    """Write a different picture under each name."""
    contents = {name: picture(seed) for seed, name in enumerate(names)}
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return contents


def pack(path: Path, contents: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def rows(count: int = 3, **columns: list) -> datasets.Dataset:
    features = {"image": datasets.Image()}
    table = {"image": [{"bytes": picture(i), "path": None} for i in range(count)], **columns}
    for name, values in columns.items():
        features[name] = datasets.Value("int64" if isinstance(values[0], int) else "string")
    return datasets.Dataset.from_dict(table, features=datasets.Features(features))


def contents_of(source: ImageSource) -> dict[str, bytes]:
    assert len(source) == len(source.names)
    return {name: source.read_bytes(i) for i, name in enumerate(source.names)}


def test_suffixes_are_those_of_formats_that_are_read() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jp2"} <= IMAGE_SUFFIXES
    assert not {".pdf", ".eps", ".ps", ".h5", ".mpg", ".txt", ""} & IMAGE_SUFFIXES


def test_a_flat_folder_is_sorted_and_has_no_classes(tmp_path: Path) -> None:
    contents = fill(tmp_path, ["b.png", "a.PNG", "c.jpeg"])
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "d.png").mkdir()
    source = FolderSource(tmp_path)
    assert source.names == ["a.PNG", "b.png", "c.jpeg"]
    assert contents_of(source) == contents
    assert source.labels is None
    assert source.class_names is None


def test_class_folders_give_labels_in_order_of_their_names(tmp_path: Path) -> None:
    fill(tmp_path, ["dog/1.png", "cat/2.png", "cat/1.png", "ant/deep/er/1.png"])
    source = FolderSource(tmp_path)
    assert source.names == ["ant/deep/er/1.png", "cat/1.png", "cat/2.png", "dog/1.png"]
    assert source.class_names == ["ant", "cat", "dog"]
    assert source.labels == [0, 1, 1, 2]


def test_one_image_beside_the_class_folders_means_no_classes(tmp_path: Path) -> None:
    fill(tmp_path, ["dog/1.png", "stray.png"])
    assert FolderSource(tmp_path).labels is None


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageSourceError, match=f"{tmp_path}: holds no image file"):
        FolderSource(tmp_path)
    with pytest.raises(ImageSourceError, match="gone: no such folder; pass a folder of images"):
        FolderSource(tmp_path / "gone")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc")
def test_an_unreadable_file_is_named_and_the_others_can_be_read(tmp_path: Path) -> None:
    contents = fill(tmp_path, ["a.png", "c.png"])
    (tmp_path / "b.png").symlink_to("/proc/self/mem")  # unreadable for everyone, root too
    source = FolderSource(tmp_path)
    assert source.names == ["a.png", "b.png", "c.png"]
    with pytest.raises(ImageSourceError, match=r"b\.png: cannot be read .*check the path and permissions"):
        source.read_bytes(1)
    assert source.read_bytes(2) == contents["c.png"]


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    fill(tmp_path, ["a.png"])
    for source in (FolderSource(tmp_path), FileListSource([tmp_path / "a.png"])):
        content = source.read_bytes(0)
        (tmp_path / "a.png").unlink()
        with pytest.raises(ImageSourceError, match=r"a\.png: cannot be read"):
            source.read_bytes(0)
        (tmp_path / "a.png").write_bytes(content)


def test_an_undecodable_image_carries_its_name(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"hello")
    with pytest.raises(ImageReadError, match=r"^broken\.jpg: not an image"):
        read_source_image(FolderSource(tmp_path), 0)


def test_a_file_list_keeps_its_order(tmp_path: Path) -> None:
    contents = fill(tmp_path, ["b.png", "a.png"])
    source = FileListSource([tmp_path / "b.png", str(tmp_path / "a.png")])
    assert list(contents_of(source).values()) == list(contents.values())
    np.testing.assert_array_equal(
        np.asarray(read_source_image(source, 1)), np.asarray(Image.open(tmp_path / "a.png"))
    )


def test_a_file_list_that_is_empty_or_repeats_a_file_is_refused() -> None:
    with pytest.raises(ImageSourceError, match="no image given"):
        FileListSource([])
    with pytest.raises(ImageSourceError, match=r"duplicate names: a\.png; rename or drop"):
        FileListSource(["a.png", "b.png", "a.png"])


@pytest.mark.parametrize("dialect", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_gives_the_same_bytes_names_and_classes_as_its_folder(tmp_path: Path, dialect: int) -> None:
    fill(tmp_path / "images", ["dog/1.png", "cat/2.jpg", f"cat/{'long' * 20}.png"])
    (tmp_path / "images" / "dog" / "notes.txt").write_text("no image")
    with tarfile.open(tmp_path / "images.tar", "w", format=dialect) as archive:
        archive.add(tmp_path / "images", arcname=".")
    folder, tar = FolderSource(tmp_path / "images"), TarSource(tmp_path / "images.tar")
    assert contents_of(tar) == contents_of(folder)
    assert (tar.names, tar.labels, tar.class_names) == (folder.names, folder.labels, folder.class_names)


def test_a_tar_that_cannot_serve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageSourceError, match=r"not a readable, uncompressed tar.*unpack it"):
        TarSource(pack(tmp_path / "packed.tar", {"a.png": picture(0)}, "w:gz"))
    with pytest.raises(ImageSourceError, match=r"gone\.tar: not a readable"):
        TarSource(tmp_path / "gone.tar")
    with pytest.raises(ImageSourceError, match="holds no image"):
        TarSource(pack(tmp_path / "texts.tar", {"a.txt": b"hello"}))


def test_a_tar_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "twice.tar", {"a.png": picture(0), "./a.png": picture(1)})
    with pytest.raises(ImageSourceError, match=r"twice\.tar has duplicate names: a\.png"):
        TarSource(path)


def test_a_tar_cut_short_after_opening_is_named(tmp_path: Path) -> None:
    source = TarSource(pack(tmp_path / "x.tar", {"a.png": picture(0), "b.png": picture(1)}))
    first = source.read_bytes(0)
    with source.path.open("r+b") as file:
        file.truncate(1600)
    assert source.read_bytes(0) == first
    with pytest.raises(ImageSourceError, match=r"x\.tar: ends inside b\.png; fetch"):
        source.read_bytes(1)
    source.path.unlink()
    with pytest.raises(ImageSourceError, match=r"x\.tar: cannot be read"):
        source.read_bytes(0)


def test_a_dataset_gives_the_stored_bytes_names_and_labels() -> None:
    dataset = rows(3, name=["x", "y", "z"], label=[2, 0, 1])
    dataset = dataset.cast_column("label", datasets.ClassLabel(names=["ant", "bee", "cat"]))
    source = DatasetSource(dataset)
    assert contents_of(source) == {name: picture(i) for i, name in enumerate("xyz")}
    assert source.labels == [2, 0, 1]
    assert source.class_names == ["ant", "bee", "cat"]


def test_a_dataset_without_names_and_labels_is_numbered() -> None:
    source = DatasetSource(rows(2))
    assert source.names == ["row-0", "row-1"]
    assert (source.labels, source.class_names) == (None, None)


def test_a_dataset_may_store_paths(tmp_path: Path) -> None:
    contents = fill(tmp_path, ["a.png"])
    cell = {"bytes": None, "path": str(tmp_path / "a.png")}
    dataset = datasets.Dataset.from_dict(
        {"image": [cell]}, features=datasets.Features({"image": datasets.Image()})
    )
    source = DatasetSource(dataset)
    assert source.read_bytes(0) == contents["a.png"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageSourceError, match=r"a\.png: cannot be read"):
        source.read_bytes(0)


def test_a_dataset_that_cannot_serve_is_refused() -> None:
    with pytest.raises(ImageSourceError, match="no column 'photo'; the data set has image"):
        DatasetSource(rows(), image_column="photo")
    with pytest.raises(ImageSourceError, match="the data set is empty"):
        DatasetSource(rows().select([]))
    with pytest.raises(ImageSourceError, match="column 'name' has duplicate names: x; rename"):
        DatasetSource(rows(3, name=["x", "y", "x"]))
    with pytest.raises(ImageSourceError, match="column 'label' must hold class numbers; cast it"):
        DatasetSource(rows(2, label=["cat", "dog"]))


def test_an_empty_cell_is_named() -> None:
    dataset = datasets.Dataset.from_dict(
        {"image": [{"bytes": picture(0), "path": None}, None], "name": ["x", "y"]},
        features=datasets.Features({"image": datasets.Image(), "name": datasets.Value("string")}),
    )
    with pytest.raises(ImageSourceError, match="y: the image cell is empty; drop that row"):
        DatasetSource(dataset).read_bytes(1)


def test_open_images_finds_out_what_lies_at_a_path(tmp_path: Path) -> None:
    contents = fill(tmp_path / "folder", ["a.png", "b.png"])
    rows(2).to_parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet")
    pack(tmp_path / "images.tar", contents)
    shutil.copy(tmp_path / "folder" / "a.png", tmp_path / "one.png")
    kinds = {"folder": FolderSource, "images.tar": TarSource, "one.png": FileListSource}
    for name, kind in kinds.items():
        assert type(open_images(tmp_path / name)) is kind
    source = open_images(tmp_path / "set", split="test")
    assert type(source) is DatasetSource
    assert [source.read_bytes(i) for i in range(2)] == [picture(0), picture(1)]


def test_open_images_names_what_it_cannot_open(tmp_path: Path) -> None:
    with pytest.raises(ImageSourceError, match="no such folder"):
        open_images(tmp_path / "gone")
    with pytest.raises(ImageSourceError, match="not a readable, uncompressed tar"):
        open_images(pack(tmp_path / "x.tar.gz", {"a.png": picture(0)}, "w:gz"))
    rows(2).to_parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet")
    with pytest.raises(ImageSourceError, match="set: has no split 'train'; choose from test"):
        open_images(tmp_path / "set")
    (tmp_path / "set" / "data" / "bad-00000-of-00001.parquet").write_bytes(b"no parquet")
    with pytest.raises(ImageSourceError, match=r"set: not a readable Parquet set.*build it again"):
        open_images(tmp_path / "set", split="bad")


def test_a_subset_takes_the_given_images_in_the_given_order(tmp_path: Path) -> None:
    contents = fill(tmp_path, ["ant/1.png", "bee/1.png", "cat/1.png"])
    source = SubsetSource(FolderSource(tmp_path), [2, 0])
    assert source.names == ["cat/1.png", "ant/1.png"]
    assert contents_of(source) == {name: contents[name] for name in source.names}
    assert source.labels == [2, 0]
    assert source.class_names == ["ant", "bee", "cat"]
    assert SubsetSource(DatasetSource(rows(3)), [1]).labels is None
