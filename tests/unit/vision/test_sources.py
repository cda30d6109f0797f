"""Every form of one picture is the same picture; what is none is refused in words."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from auricle.errors import (
    ImageError,
    ImageFormatError,
    ImageInputError,
    ImageNotFoundError,
    ImageTooLargeError,
    OptionError,
)
from auricle.vision.sources import ImageLimits, open_image

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
LIMITS = ImageLimits()


def png(pixels: np.ndarray = PIXELS, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "parrots.png").write_bytes(png())
    return tmp_path / "parrots.png"


FORMS = {
    "text path": str,
    "path": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "file object": lambda path: io.BytesIO(path.read_bytes()),
    "base64": lambda path: base64.b64encode(path.read_bytes()).decode(),
    "base64 in lines": lambda path: base64.encodebytes(path.read_bytes()).decode(),
    "url-safe base64": lambda path: base64.urlsafe_b64encode(path.read_bytes()).decode(),
    "data URL": lambda path: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode(),
    "dict with path": lambda path: {"path": str(path), "bytes": None},
    "dict with bytes": lambda path: {"path": None, "bytes": path.read_bytes()},
    "PIL": Image.open,
    "array": lambda path: PIXELS,
    "channels first": lambda path: PIXELS.transpose(2, 0, 1),
    "shares": lambda path: PIXELS / 255,
    "floats of 0 to 255": lambda path: PIXELS.astype(np.float32),
    "tensor": lambda path: torch.from_numpy(PIXELS),
    "tensor of shares, channels first": lambda path: torch.from_numpy(PIXELS.transpose(2, 0, 1) / 255),
    "tensor of bfloat16": lambda path: torch.from_numpy(PIXELS).bfloat16().requires_grad_(),
    "transparent": lambda path: np.dstack([PIXELS, np.full((6, 9), 7, np.uint8)]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_picture(form: str, path: Path) -> None:
    picture = open_image(FORMS[form](path), LIMITS)
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), PIXELS)


def test_a_file_object_is_read_from_its_beginning_and_put_back() -> None:
    file = io.BytesIO(png())
    file.seek(3)
    open_image(file, LIMITS)
    assert file.tell() == 3


@pytest.mark.parametrize("shape", [(6, 9), (6, 9, 1), (1, 6, 9)])
def test_grey_becomes_rgb(shape: tuple[int, ...]) -> None:
    picture = open_image(PIXELS[..., 0].reshape(shape), LIMITS)
    np.testing.assert_array_equal(np.asarray(picture), np.repeat(PIXELS[..., :1], 3, axis=2))


def test_whole_numbers_are_never_shares() -> None:
    for dark in (np.ones((4, 4, 3), np.uint8), torch.ones(4, 4, 3, dtype=torch.int64)):
        assert np.asarray(open_image(dark, LIMITS)).max() == 1


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: a quarter clockwise makes it upright
    picture = open_image(png(exif=exif.tobytes()), LIMITS)
    np.testing.assert_array_equal(np.asarray(picture), np.rot90(PIXELS, -1))


BROKEN: dict[str, tuple[Any, type[ImageError], str]] = {
    "text": (b"hello, this is no picture", ImageFormatError, "no image that can be decoded; it begins b'hello"),
    "empty": (b"", ImageFormatError, "is empty"),
    "cut": (png()[:-60], ImageFormatError, "damaged or incomplete"),
    "nothing": ("", ImageNotFoundError, "an empty text"),
    "no folder": ("/nowhere/cat.png", ImageNotFoundError, "folder /nowhere does not exist"),
    "zero byte": ("a\0b", ImageNotFoundError, "there is no file|neither a file"),
    "base64 of no image": (base64.b64encode(b"x" * 90).decode(), ImageFormatError, "no image"),
    "data URL without base64": ("data:image/png,abc", ImageFormatError, "without base64"),
    "number": (7, ImageInputError, "int arrived where an image"),
    "dict": ({"url": 1}, ImageInputError, "a dict with the keys 'url'"),
    "batch": (np.zeros((2, 3, 4, 5)), ImageInputError, "give several images as a list"),
    "NaN": (np.full((4, 4, 3), np.nan), ImageInputError, "nan"),
    "negative": (np.full((4, 4, 3), -1.0), ImageInputError, "values of -1"),
    "text file object": (io.StringIO("a"), ImageInputError, "open it with 'rb'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_image_is_refused_in_words(kind: str) -> None:
    source, error, words = BROKEN[kind]
    with pytest.raises(error, match=words):
        open_image(source, LIMITS)


def test_a_file_that_is_no_image_is_not_told_to_be_absent(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_text("<!doctype html>")
    with pytest.raises(ImageFormatError, match="is no image that can be decoded"):
        open_image(tmp_path / "page.png", ImageLimits())


def test_a_mistyped_name_gets_the_nearest(path: Path) -> None:
    with pytest.raises(ImageNotFoundError, match=r"did you mean 'parrots\.png'"):
        open_image(path.with_name("parots.png"), LIMITS)


def test_limits_are_kept() -> None:
    with pytest.raises(ImageTooLargeError, match="9 x 6 pixels"):
        open_image(png(), ImageLimits(max_pixels=50))
    with pytest.raises(OptionError, match=r"ImageLimits\.max_pixels is 0"):
        ImageLimits(max_pixels=0)
    with pytest.raises(ImageTooLargeError, match="more than 20 bytes"):
        open_image(io.BytesIO(png()), ImageLimits(max_bytes=20))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    header = struct.pack(">4sIIBBBBB", b"IHDR", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + png()[33:]
    with pytest.raises(ImageTooLargeError, match=r"<bytes>.*make it smaller"):
        open_image(bomb, LIMITS)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    source = Image.new(mode, (5, 4))
    file = io.BytesIO()
    source.save(file, "TIFF")
    assert open_image(file.getvalue(), LIMITS).mode == open_image(source, LIMITS).mode == "RGB"


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PIL", "big-endian"])
def test_pixels_of_16_bits_are_scaled_and_not_cut_off(kind: str) -> None:
    grey = PIXELS[..., 0]
    picture = Image.fromarray(grey.astype(np.uint16) * 257)
    if kind == "big-endian":
        picture = Image.frombytes("I;16B", picture.size, (grey.astype(">u2") * 257).tobytes())
    source: Any = picture
    if kind in ("PNG", "TIFF"):
        source = io.BytesIO()
        picture.save(source, kind)
    assert np.array_equal(np.asarray(open_image(source, LIMITS))[..., 0], grey)


def test_pixels_of_32_bits_are_shares_or_numbers_of_0_to_255() -> None:
    grey = PIXELS[..., 0]
    for values in (grey / 255, grey.astype(np.float32), grey.astype(np.int32)):
        picture = Image.fromarray(values.astype(np.float32) if values.dtype == np.float64 else values)
        assert np.array_equal(np.asarray(open_image(picture, LIMITS))[..., 0], grey)
    between = Image.fromarray(np.full((4, 4), 12.7, np.float32))
    assert np.array_equal(np.asarray(open_image(between, LIMITS)), np.asarray(between.convert("RGB")))
    for wrong in (np.full((4, 4), 70000, np.int32), np.full((4, 4), -1, np.int32), np.full((4, 4), 300.0, np.float32)):
        with pytest.raises(ImageInputError, match="<image>, a picture with values of"):
            open_image(Image.fromarray(wrong), LIMITS)


def test_postscript_is_not_run() -> None:
    with pytest.raises(ImageFormatError, match="is PostScript, a program"):
        open_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", LIMITS)


@pytest.mark.parametrize("url", ["file:///tmp/a.png", "ftp://example.org/a.png", "s3://bucket/a.png"])
def test_other_addresses_are_told_from_paths(url: str) -> None:
    with pytest.raises(ImageNotFoundError, match=r"begins with .*://; give a path as it is, or an http"):
        open_image(url, LIMITS)
