from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hub_models import image_reading
from hub_models.errors import ImageReadError
from hub_models.image_reading import FORMATS, MAX_SIDE, MIN_SIDE, read_image

RGB = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
# What each EXIF orientation asks for, in numpy: stored array -> upright array.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises any number of pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def test_rgb_comes_back_unchanged_from_path_bytes_and_pil(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encode(Image.fromarray(RGB)))
    for source in (path, str(path), path.read_bytes(), Image.fromarray(RGB)):
        image = read_image(source)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), RGB)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_listed_format_is_read(kind: str) -> None:
    smooth = Image.fromarray(RGB).resize((64, 48), Image.Resampling.BICUBIC)
    image = read_image(encode(smooth, kind))
    assert (image.mode, image.size) == ("RGB", (64, 48))


def test_formats_that_start_programs_are_not_opened() -> None:
    with pytest.raises(ImageReadError, match="not an image"):
        read_image(encode(Image.fromarray(RGB), "EPS"), name="figure.eps")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", bytes(1000)])
def test_what_is_not_an_image_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(ImageReadError, match=r"notes\.jpg: not an image.*pass a JPEG"):
        read_image(content, name="notes.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_a_file_cut_short_is_refused(kind: str) -> None:
    content = encode(Image.fromarray(RGB).resize((200, 150)), kind)
    with pytest.raises(ImageReadError, match=r"photo: (damaged or cut short|not an image)"):
        read_image(content[: len(content) // 2], name="photo")


@pytest.mark.parametrize("size", [(1, 1), (MIN_SIDE - 1, 100), (100, 1)])
def test_an_image_without_content_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageReadError, match=f"dot: is {size[0]} x {size[1]} pixels, too small"):
        read_image(encode(Image.new("RGB", size)), name="dot")
    assert read_image(Image.new("RGB", (MIN_SIDE, MIN_SIDE))).size == (MIN_SIDE, MIN_SIDE)


@pytest.mark.parametrize("size", [(20_000, 8), (8, 20_000), (MAX_SIDE + 1, 8)])
def test_too_long_a_side_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageReadError, match=f"{size[0]} x {size[1]} pixels.*shrink it"):
        read_image(encode(Image.new("1", size)))


@pytest.mark.parametrize("size", [(100_000, 100_000), (16_000, 16_000), (9_600, 9_600)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_header_that_claims_gigabytes_is_refused_before_decoding(size: tuple[int, int]) -> None:
    with pytest.raises(ImageReadError, match=r"bomb\.png: .*pixels.*shrink it"):
        read_image(png_header_claiming(*size), name="bomb.png")


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_a_typed_error_also_where_warnings_are_errors() -> None:
    with pytest.raises(ImageReadError, match="shrink it"):
        read_image(png_header_claiming(9_600, 9_600))


def test_grey_is_repeated_over_the_channels() -> None:
    grey = RGB[..., 0]
    image = np.asarray(read_image(encode(Image.fromarray(grey))))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    alpha = np.random.default_rng(1).integers(0, 256, RGB.shape[:2], dtype=np.uint8)
    colours = RGB[..., :1] if mode == "LA" else RGB
    stored = Image.fromarray(np.concatenate([colours, alpha[..., None]], axis=2), mode)
    share = alpha[..., None] / 255
    expected = np.broadcast_to(colours * share + 255 * (1 - share), RGB.shape)
    np.testing.assert_allclose(np.asarray(read_image(encode(stored))), expected, atol=1)


def test_a_transparent_palette_entry_turns_white() -> None:
    stored = Image.fromarray(np.tile(np.array([[0, 1]], dtype=np.uint8), (8, 4)), "P")
    stored.putpalette([255, 0, 0, 0, 0, 255])
    image = np.asarray(read_image(encode(stored, transparency=0)))
    assert (image[:, ::2] == 255).all()
    assert (image[:, 1::2] == [0, 0, 255]).all()


def test_a_transparent_colour_of_an_rgb_png_turns_white() -> None:
    stored = RGB.copy()
    stored[:4] = (1, 2, 3)
    image = np.asarray(read_image(encode(Image.fromarray(stored), transparency=(1, 2, 3))))
    assert (image[:4] == 255).all()
    np.testing.assert_array_equal(image[4:], stored[4:])


def test_an_opaque_palette_keeps_its_colours() -> None:
    stored = Image.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(np.asarray(read_image(encode(stored))), np.asarray(stored.convert("RGB")))


def test_cmyk_becomes_rgb() -> None:
    inks = np.zeros((16, 16, 4), dtype=np.uint8)
    inks[:8, :, 0] = 255  # full cyan above, white paper below
    image = np.asarray(read_image(encode(Image.fromarray(inks, "CMYK"), "JPEG", quality=100))).astype(int)
    np.testing.assert_allclose(image[2, 8], [0, 255, 255], atol=8)
    np.testing.assert_allclose(image[14, 8], [255, 255, 255], atol=8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_keeps_its_values(kind: str) -> None:
    """Not clipped at 255, which would turn a scan white: 0..65535 maps linearly to 0..255."""
    deep = np.linspace(0, 65_535, 24 * 32).round().astype(np.uint16).reshape(24, 32)
    image = np.asarray(read_image(encode(Image.fromarray(deep), kind)))
    expected = np.round(deep / 257).astype(np.uint8)
    np.testing.assert_array_equal(image, np.repeat(expected[..., None], 3, axis=2))


def test_a_dark_sixteen_bit_scan_stays_dark() -> None:
    deep = np.full((8, 8), 255, dtype=np.uint16)
    assert (np.asarray(read_image(encode(Image.fromarray(deep)))) == 1).all()


def test_float_grey_between_0_and_1_is_scaled() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    image = np.asarray(read_image(encode(Image.fromarray(values), "TIFF")))
    np.testing.assert_array_equal(image[..., 0], np.round(values * 255))


@pytest.mark.parametrize("value", [-1.0, 1e6, np.nan, np.inf])
def test_grey_values_without_a_meaning_are_refused(value: float) -> None:
    values = np.zeros((8, 8), dtype=np.float32)
    values[3, 3] = value
    with pytest.raises(ImageReadError, match=r"scan\.tif: grey values outside 0 to 65535.*rescale"):
        read_image(encode(Image.fromarray(values), "TIFF"), name="scan.tif")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(content)).n_frames == 3
    assert (np.asarray(read_image(content)) == [255, 0, 0]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_every_exif_orientation_is_turned_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    image = read_image(encode(Image.fromarray(RGB), kind, exif=exif, **options))
    np.testing.assert_array_equal(np.asarray(image), UPRIGHT[orientation](RGB))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_jpeg_and_a_rotated_deep_scan_are_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = encode(Image.fromarray(RGB), "JPEG", quality=95, exif=exif)
    stored = np.asarray(Image.open(io.BytesIO(photo)))
    np.testing.assert_array_equal(np.asarray(read_image(photo)), UPRIGHT[orientation](stored))
    deep = RGB[..., 0].astype(np.uint16) * 257
    scan = encode(Image.fromarray(deep), "PNG", exif=exif)
    np.testing.assert_array_equal(np.asarray(read_image(scan))[..., 0], UPRIGHT[orientation](RGB[..., 0]))


def test_a_folder_or_nothing_at_a_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=f"{tmp_path}: cannot be read"):
        read_image(tmp_path)
    with pytest.raises(ImageReadError, match=r"gone\.jpg: no such file; check the path"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageReadError, match="not a path"):
        read_image("a\0b.jpg")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_read_permission_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encode(Image.fromarray(RGB)))
    path.chmod(0)
    with pytest.raises(ImageReadError, match=r"secret\.png: cannot be read.*permissions"):
        read_image(path)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc")
def test_a_file_that_fails_while_reading_is_named() -> None:
    with pytest.raises(ImageReadError, match="/proc/self/mem: cannot be read"):
        read_image("/proc/self/mem")


class Pictures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        image = encode(Image.fromarray(RGB))
        answers = {"/image.png": (200, image), "/page": (200, b"<html>"), "/large": (200, bytes(4000))}
        status, content = answers.get(self.path, (404, b"no"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http_server.server_port}"
        http_server.shutdown()


def test_a_url_is_fetched(server: str) -> None:
    np.testing.assert_array_equal(np.asarray(read_image(f"{server}/image.png")), RGB)


def test_what_a_url_cannot_give_is_named(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageReadError, match=f"{server}/gone.png: cannot be fetched.*404"):
        read_image(f"{server}/gone.png")
    with pytest.raises(ImageReadError, match=f"{server}/page: not an image"):
        read_image(f"{server}/page")
    monkeypatch.setattr(image_reading, "MAX_DOWNLOAD", 3999)
    with pytest.raises(ImageReadError, match=f"{server}/large: larger than .*download and shrink"):
        read_image(f"{server}/large")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.png", "http://", "http://a b/x.png", "http://[/x.png"])
def test_an_address_that_leads_nowhere_is_a_typed_error(url: str) -> None:
    with pytest.raises(ImageReadError, match="cannot be fetched"):
        read_image(url)
