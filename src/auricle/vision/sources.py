"""What callers may hand over as an image, and how each kind becomes an upright picture in RGB."""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auricle.errors import (
    ImageError,
    ImageFormatError,
    ImageInputError,
    ImageNotFoundError,
    ImageTooLargeError,
    MissingExtraError,
    OptionError,
    nearest,
)

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = (
    "a path, an http(s) URL, a data: URL, base64 text, bytes, a binary file object, a PIL image, an array or tensor of "
    "height, width and channels, or a dict with 'path' or 'bytes'"
)
CHANNELS = (1, 3, 4)  # grey, RGB, RGB and transparency
# Modes of more than 8 bits, of which Pillow would cut all beyond 255 off.
DEEP = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
WHITE = 65535  # of 16 bits
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]+=*\s*")
_SHORTEST_BASE64 = 64  # characters; no image is smaller, and many a file's name is
_MAX_LISTED = 10_000  # directory entries that are compared with a mistyped name


@dataclass(frozen=True)
class ImageLimits:
    """Bounds on what is read; an image beyond one of them is refused with an error that names it."""

    max_bytes: int = 256 * 2**20  # of a file, a reply or a file object
    max_pixels: int = 89_478_485  # width times height, where Pillow begins to warn of decompression bombs
    url_timeout: float = 60.0  # seconds from asking for a URL to its last byte
    allow_private_urls: bool = False  # whether URLs may lead to addresses that only this machine can reach

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "url_timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise OptionError(f"ImageLimits.{name} is {value!r}; it must be a positive number")


def open_image(source: Any, limits: ImageLimits) -> Image:
    """Open anything on this machine that is an image: in RGB, turned as its EXIF orientation says.

    Raises:
        ImageError: it is no image, is damaged, absent or too large, or of a kind that is none of these.
        MissingExtraError: Pillow is not installed.
    """
    pillow()
    if isinstance(source, os.PathLike):
        source = os.fsdecode(source)
    if isinstance(source, str):
        return _open_text(source, limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), "<bytes>", limits)
    if isinstance(source, Mapping):
        return _open_mapping(source, limits)
    if hasattr(source, "convert") and hasattr(source, "getexif"):
        return _upright(source, "<image>", limits)
    if hasattr(source, "read"):
        return _open_object(source, limits)
    if hasattr(source, "__array__"):
        return _of_array(source)
    raise ImageInputError(f"{type(source).__name__} arrived where an image was expected; give {KINDS}")


def pillow() -> Any:
    """Return the imaging library.

    Raises: MissingExtraError
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("images need Pillow, which is not installed: pip install 'auricle[vision]'") from error
    return Image


def _open_text(source: str, limits: ImageLimits) -> Image:
    if source.startswith("data:"):
        head, comma, body = source.partition(",")
        if not comma or not head.endswith(";base64"):
            raise ImageFormatError(
                f"{head[:60]!r} begins a data: URL without base64 content; give data:image/…;base64,…"
            )
        return _decode(_of_base64(body, head), "<data URL>", limits)
    path = os.path.expanduser(source) if source.startswith("~/") else source
    content = None
    try:
        if os.path.isfile(path):
            _check_bytes(os.path.getsize(path), path, limits)
            content = Path(path).read_bytes()
    except ImageError:  # is a ValueError, too
        raise
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read: {error.strerror}; check its permissions, or give the bytes"
        ) from error
    except ValueError:  # a zero byte
        pass
    if content is not None:
        return _decode(content, path, limits)
    if len(source) >= _SHORTEST_BASE64 and _BASE64.fullmatch(source):
        return _decode(_of_base64(source, "a text"), "<base64>", limits)
    raise ImageNotFoundError(_not_found(path))


def _of_base64(text: str, name: str) -> bytes:
    try:
        plain = "".join(text.split()).translate({ord("-"): "+", ord("_"): "/"})
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageFormatError(
            f"{name[:60]!r}: its base64 cannot be decoded: {error}; encode the bytes anew"
        ) from error


def _open_mapping(source: Mapping[str, Any], limits: ImageLimits) -> Image:
    content, path = source.get("bytes"), source.get("path")
    if isinstance(content, bytes | bytearray | memoryview):
        return _decode(bytes(content), path if isinstance(path, str) and path else "<dict>", limits)
    if content is None and isinstance(path, str | os.PathLike):
        return open_image(path, limits)
    raise ImageInputError(
        f"a dict with the keys {', '.join(map(repr, source)) or '(none)'} arrived; an image is a dict with 'path' (a "
        "path) or 'bytes' (bytes), or a dataset's row with 'image'"
    )


def _open_object(source: Any, limits: ImageLimits) -> Image:
    """Read a file object: from its beginning if it can seek (and put back where it was), else to its end."""
    name = getattr(source, "name", None)
    name = name if isinstance(name, str) else f"<{type(source).__name__}>"
    try:
        place = source.tell() if hasattr(source, "seekable") and source.seekable() else None
        if place is not None:
            source.seek(0)
        content = source.read(limits.max_bytes + 1)
        if place is not None:
            source.seek(place)
    except (OSError, ValueError) as error:
        raise ImageInputError(f"{name}: the file object cannot be read: {error}; give an open one") from error
    if not isinstance(content, bytes):
        raise ImageInputError(f"{name}: its read() gives {type(content).__name__}, not bytes; open it with 'rb'")
    return _decode(content, name, limits)


def _decode(content: bytes, name: str, limits: ImageLimits) -> Image:
    image = pillow()
    _check_bytes(len(content), name, limits)
    try:
        picture = image.open(io.BytesIO(content))
    except (image.DecompressionBombError, image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(f"{name}: {error}; make it smaller") from error
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        state = "is empty" if not content else f"is no image that can be decoded; it begins {content[:16]!r}"
        raise ImageFormatError(
            f"{name} {state}: give a PNG, JPEG, WebP or another picture that Pillow reads"
        ) from error
    if picture.format == "EPS":
        raise ImageFormatError(f"{name} is PostScript, a program that draws, and no picture; save it as PNG or JPEG")
    return _upright(picture, name, limits)


def _check_bytes(size: int, name: str, limits: ImageLimits) -> None:
    if size > limits.max_bytes:
        raise ImageTooLargeError(
            f"{name} has more than {limits.max_bytes} bytes; make it smaller, or raise ImageLimits.max_bytes"
        )


def _upright(picture: Any, name: str, limits: ImageLimits) -> Image:
    from PIL import ImageOps

    width, height = picture.size
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"{name} has {width} x {height} pixels, more than {limits.max_pixels}; make it smaller, or raise "
            "ImageLimits.max_pixels"
        )
    if not width * height:
        raise ImageFormatError(f"{name} has {width} x {height} pixels; give an image with some")
    try:
        picture = ImageOps.exif_transpose(picture)
        return _of_depth(picture, name) if picture.mode in DEEP else picture.convert("RGB")
    except ImageError:  # is a ValueError, too
        raise
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, EOFError, IndexError, TypeError) as error:
        raise ImageFormatError(f"{name} is damaged or incomplete: {error}; save or download it again") from error


def _of_depth(picture: Any, name: str) -> Image:
    """Take pixels of 16 bits as shares of white, and floats of 0 to 1, too; those of 0 to 255 as Pillow does."""
    values = np.asarray(picture)
    is_whole, low, high = values.dtype.kind in "iu", values.min(), values.max()
    if low >= 0 and high <= 255 and (is_whole or high > 1):
        return picture.convert("RGB")
    if is_whole and low >= 0 and high <= WHITE:
        values = np.rint(values * (255 / WHITE)).astype(np.uint8)
    return pillow().fromarray(_pixels(values, f"{name}, a picture")).convert("RGB")


def _of_array(source: Any) -> Image:
    """Take pixels: (H, W), (H, W, C) or (C, H, W), whole numbers of 0 to 255 or shares of 0 to 1."""
    values = np.asarray(_plain(source))
    if values.ndim == 3 and values.shape[0] in CHANNELS:
        values = np.moveaxis(values, 0, -1)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in CHANNELS) or not values.size:
        raise ImageInputError(
            f"an array of shape {tuple(np.shape(source))} arrived; an image is (height, width), (height, width, "
            "channels) or (channels, height, width) with 1, 3 or 4 channels: give several images as a list"
        )
    values = _pixels(values)
    return pillow().fromarray(values[..., 0] if values.shape[2:] == (1,) else values).convert("RGB")


def _plain(source: Any) -> Any:
    """A tensor where numpy reaches it; numpy has no bfloat16."""
    if not hasattr(source, "detach"):
        return source
    tensor = source.detach().cpu()
    return tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor


def _pixels(values: np.ndarray, what: str = "an array") -> np.ndarray:
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype.kind not in "iufb":
        raise ImageInputError(f"an array of {values.dtype} arrived; pixels are uint8, or floats of 0 to 1")
    low, high = float(values.min()), float(values.max())
    # Not a comparison of each, so that NaN is refused, too.
    if not (low >= 0 and high <= 255):
        raise ImageInputError(
            f"{what} with values of {low:g} to {high:g} arrived; pixels are 0 to 255, or floats of 0 to 1"
        )
    shares = values.dtype.kind in "fb" and high <= 1
    return np.ascontiguousarray(np.rint(values * 255.0 if shares else values).astype(np.uint8))


def _not_found(path: str) -> str:
    scheme, found, _ = path.partition("://")
    if found and scheme.isalnum():
        return f"{path[:200]!r} begins with {scheme}://; give a path as it is, or an http(s) URL"
    if not path:
        return f"an empty text arrived where an image was expected; give {KINDS}"
    shown = path if len(path) <= 200 else f"{path[:100]}… ({len(path)} characters)"
    parent = Path(path).parent
    try:
        if Path(path).is_dir():
            return f"{shown} is a directory; give the path of one image"
        if not parent.is_dir():
            return f"there is no file {shown}: the folder {parent} does not exist; give {KINDS}"
        with os.scandir(parent) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MAX_LISTED), strict=False)]
    except (OSError, ValueError):
        return f"{shown!r} is neither a file nor an image as base64; give {KINDS}"
    return f"there is no file {shown}{nearest(Path(path).name, names) or '; give the path of an image'}"
