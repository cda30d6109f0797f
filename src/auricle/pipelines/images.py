"""How what a caller gives becomes a picture, wherever it lies: the tasks that see share this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from auricle.audio.limits import AudioLimits
from auricle.engines import make_engine
from auricle.engines.reference import ReferenceEngine
from auricle.errors import (
    AudioError,
    AudioTooLargeError,
    AuricleError,
    ImageTooLargeError,
    ImageURLError,
    OptionError,
    TaskError,
)
from auricle.loading import Loaded
from auricle.pipelines.base import ModelSettings, error_item
from auricle.vision.sources import ImageLimits, open_image

RGB = 3  # channels
SEEN_KEYS = ("image", "question")
_FAST_DTYPES = ("auto", "None", "float32", "torch.float32", "bfloat16", "torch.bfloat16")
_URLS = ("http://", "https://")
# What fetching says of recordings, in the words of images.
_WORDS = (
    ("; give the recording's own address, or raise AudioLimits.max_redirects", "; give the image's own address"),
    (", which is --allow-private-urls on the command line", ""),
    ("a recording", "an image"),
    ("AudioLimits", "ImageLimits"),
)


def picture_of(item: Any, limits: ImageLimits) -> Any:
    """Open an input: what `open_image` takes, an http(s) URL, or a dataset's row with "image".

    Raises: ImageError
    """
    if isinstance(item, Mapping):
        if "image" in item:
            return picture_of(item["image"], limits)
        path = item.get("path")
        if item.get("bytes") is None and isinstance(path, str) and path.startswith(_URLS):
            return picture_of(path, limits)
    if isinstance(item, str) and item.startswith(_URLS):
        return open_image(_fetched(item, limits), limits)
    return open_image(item, limits)


def _fetched(url: str, limits: ImageLimits) -> bytes:
    from auricle.audio.fetch import fetch  # httpx takes 50 ms to import

    bounds = AudioLimits(
        max_bytes=limits.max_bytes, url_timeout=limits.url_timeout, allow_private_urls=limits.allow_private_urls
    )
    try:
        with fetch(url, bounds) as file:
            return file.read()
    except AudioError as error:
        message = str(error)
        for heard, seen in _WORDS:
            message = message.replace(heard, seen)
        kind = ImageTooLargeError if isinstance(error, AudioTooLargeError) else ImageURLError
        raise kind(message) from error


def failed_item(item: Any, error: AuricleError) -> dict[str, Any]:
    """Return what stands in the place of an image that failed: the error, and the caller's own keys."""
    own = {key: value for key, value in item.items() if key not in SEEN_KEYS} if isinstance(item, Mapping) else item
    return error_item(own, error)


def read_limits(limits: ImageLimits | None) -> ImageLimits:
    """Check the `limits` of a pipeline.

    Raises: OptionError
    """
    if not isinstance(limits, ImageLimits | None):
        raise OptionError(f"limits is {limits!r}; it must be an ImageLimits, or None for the default ones")
    return limits or ImageLimits()


def with_timeout(limits: ImageLimits, timeout: Any) -> ImageLimits:
    """Limits with another time for URLs, in seconds; None leaves them as they are.

    Raises: OptionError
    """
    if timeout is None:
        return limits
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < float("inf"):
        raise OptionError(f"timeout is {timeout!r}; it must be a number of seconds above 0, or None")
    return replace(limits, url_timeout=float(timeout))


def engine_of(loaded: Loaded, settings: ModelSettings) -> ReferenceEngine:
    """Move a model that sees to its device and arithmetic.

    Raises:
        OptionError: the engine, device or dtype does not run it.
        TaskError: it sees no pictures in colour.
    """
    n_channels = getattr(loaded.config, "num_channels", RGB)
    if n_channels != RGB:
        raise TaskError(f"{loaded.name!r} sees {n_channels} channels; only models of pictures in RGB run here")
    names = ("auto", "reference", "cpu") if loaded.kind == "image" else ("auto", "reference")
    if settings.engine not in names:
        raise OptionError(
            f"engine={settings.engine!r} does not run {loaded.name!r}, which sees; leave it out, or pass "
            f"{' or '.join(map(repr, names))}"
        )
    # On the CPU the fast engine, unless a dtype is asked for that it does not compute; elsewhere the plain one.
    is_fast = loaded.kind == "image" and settings.device == "cpu" and str(settings.dtype) in _FAST_DTYPES
    name = settings.engine if settings.engine != "auto" else "cpu" if is_fast else "reference"
    engine: Any = make_engine(loaded.model, device=settings.device, dtype=settings.dtype, name=name)
    return engine
