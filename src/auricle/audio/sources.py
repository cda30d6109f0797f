"""What callers may hand over as a recording, and how each kind is opened."""

from __future__ import annotations

import difflib
import io
import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from auricle.audio.arrays import ArrayRecording, checked_rate, tensor_samples
from auricle.audio.container import ContainerRecording
from auricle.audio.limits import AudioLimits
from auricle.audio.spool import CHUNK_BYTES, open_pipe, read_pipe, spool
from auricle.errors import AudioError, AudioInputError, AudioNotFoundError, AudioURLError

Recording = ArrayRecording | ContainerRecording

_KINDS = (
    "a path, '-' for standard input, an http(s) URL, bytes, a binary file object, a numpy array, a torch tensor, or "
    "a dict with 'array' (or 'raw') and 'sampling_rate', or with 'path' or 'bytes'"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|data:")
_LONG_NAME = 200  # characters; what is longer is hardly meant as a path
_MAX_LISTED = 10_000  # directory entries that are compared with a mistyped name


def open_source(source: Any, sample_rate: int, limits: AudioLimits) -> Recording:
    """Open anything that is a recording; `sample_rate` is what an array without a rate is taken to have.

    Raises: AudioError
    """
    if isinstance(source, Recording):
        return source  # that of `Audio.again`
    if isinstance(source, os.PathLike):
        source = os.fsdecode(source)
    elif isinstance(source, str) and (source == "-" or _SCHEME.match(source)):
        return _open_name(source, limits)
    if isinstance(source, str):
        return open_path(source, limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return ContainerRecording(io.BytesIO(source), "<bytes>", limits)
    if isinstance(source, np.ndarray):
        return ArrayRecording(np.asarray(source), sample_rate, "<array>")
    if isinstance(source, Mapping):
        return _open_mapping(source, sample_rate, limits)
    if hasattr(source, "get_all_samples"):  # torchcodec's AudioDecoder, and that of `datasets`
        held = source.get_all_samples()
        return open_samples(held.data, checked_rate(held.sample_rate, "<decoder>"), "<decoder>")
    if hasattr(source, "__array__"):  # torch, and what else converts itself to numpy
        return open_samples(source, sample_rate, f"<{type(source).__name__}>")
    if hasattr(source, "read"):
        return _open_object(source, limits)
    if isinstance(source, list | tuple):
        raise AudioInputError(
            f"a {type(source).__name__} of {len(source)} arrived where one recording was expected; pass "
            "recordings one by one, or samples as np.asarray(samples, dtype=np.float32)"
        )
    raise AudioInputError(f"{type(source).__name__} arrived where a recording was expected; give {_KINDS}")


def _open_name(name: str, limits: AudioLimits) -> Recording:
    """Open standard input or a URL."""
    if name == "-":
        stdin = getattr(sys.stdin, "buffer", None)
        if stdin is None or sys.stdin.isatty():
            raise AudioInputError("'-' is standard input, but nothing is piped into it; pipe a recording to it")
        file = spool(iter(lambda: stdin.read(CHUNK_BYTES), b""), limits.max_bytes, "<stdin>")
        return ContainerRecording(file, "<stdin>", limits, file.close)
    scheme = name.partition(":")[0].lower()
    if scheme in ("http", "https"):
        from auricle.audio.fetch import fetch, shown  # httpx takes 50 ms to import

        file = fetch(name, limits)
        return ContainerRecording(file, shown(name), limits, file.close)
    raise AudioURLError(
        f"{name[:100]!r} has the scheme {scheme!r}; only http and https addresses are fetched: give the path of a "
        "local file, or the bytes themselves"
    )


def open_path(path: str, limits: AudioLimits) -> Recording:
    """Open a regular file, or a named pipe such as a shell's `<(command)`.

    A leading ~/ is the user's home, as in a model's path.

    Raises: AudioNotFoundError where there is no such file, or it is a directory or device; AudioError
    """
    if path.startswith("~/"):
        path = os.path.expanduser(path)
    try:
        mode = os.stat(path).st_mode
        pipe = open_pipe(path) if stat.S_ISFIFO(mode) else None
        file: BinaryIO | None = open(path, "rb") if stat.S_ISREG(mode) else None  # noqa: SIM115
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AudioNotFoundError(_not_found(path)) from error
    except PermissionError as error:
        raise AudioError(f"{path} may not be read by this user; change its permissions or copy it") from error
    except (OSError, ValueError) as error:  # a name too long or with a zero byte, or a disk that fails
        shown = repr(path) if len(path) <= _LONG_NAME else f"{path[:100]!r}... ({len(path)} characters)"
        # Not the error as text, which would repeat the name: base64 may be megabytes long.
        reason = error.strerror if isinstance(error, OSError) else error
        advice = "give the path of a recording, or its bytes; base64 is decoded with base64.b64decode"
        raise AudioNotFoundError(f"{shown} cannot be opened: {reason}; {advice}") from error
    if pipe is not None:
        file = spool(read_pipe(pipe, path, limits.pipe_timeout), limits.max_bytes, path)
    if file is None:
        arrived = "a directory" if stat.S_ISDIR(mode) else "a device or socket"
        raise AudioNotFoundError(f"{path} is {arrived}; give the path of one recording")
    return ContainerRecording(file, path, limits, file.close)


def open_samples(samples: Any, sample_rate: int, name: str) -> ArrayRecording:
    """Take samples in memory: an array, a tensor, or numbers in lists."""
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    if torch is not None and isinstance(samples, torch.Tensor):
        return ArrayRecording(tensor_samples(samples, name), sample_rate, name)
    try:
        values = np.asarray(samples)
    except ValueError as error:  # rows of unequal length
        raise AudioInputError(f"{name}: its samples are no array: {error}; give numbers") from error
    return ArrayRecording(values, sample_rate, name)


def _open_object(source: Any, limits: AudioLimits) -> Recording:
    """Read a file object: from its beginning if it can seek (and put back where it was), else to its end."""
    name = getattr(source, "name", None)
    name = name if isinstance(name, str) else f"<{type(source).__name__}>"
    if source is getattr(sys.stdin, "buffer", sys):
        name = "<stdin>"
    try:
        probe = source.read(0)
        if not isinstance(probe, bytes):
            if hasattr(probe, "close"):  # a coroutine, which would warn that nobody awaited it
                probe.close()
            raise AudioInputError(
                f"{name}: its read() gives {type(probe).__name__}, not bytes; open it as open(path, 'rb')"
            )
        if hasattr(source, "seekable") and source.seekable():
            position = source.tell()
            source.seek(0)
            return ContainerRecording(source, name, limits, lambda: source.seek(position))
        file = spool(iter(lambda: source.read(CHUNK_BYTES), b""), limits.max_bytes, name)
    except AudioError:
        raise
    except (OSError, ValueError) as error:
        raise AudioInputError(f"{name}: the file object cannot be read: {error}; give an open one") from error
    return ContainerRecording(file, name, limits, file.close)


def _open_mapping(source: Mapping[str, Any], sample_rate: int, limits: AudioLimits) -> Recording:
    """Open the dict forms of pipelines and of `datasets`; other keys are the caller's own."""
    path, content = source.get("path"), source.get("bytes")
    samples = source["raw"] if source.get("raw") is not None else source.get("array")
    name = path if isinstance(path, str) and path else "<dict>"
    if samples is not None:
        if source.get("sampling_rate") is None:
            raise AudioInputError(f"{name}: a dict with samples needs 'sampling_rate', in hertz; add it")
        return open_samples(samples, checked_rate(source["sampling_rate"], name), name)
    if isinstance(content, bytes | bytearray | memoryview):
        return ContainerRecording(io.BytesIO(content), name, limits)
    if content is None and isinstance(path, str | os.PathLike):
        return open_source(path, sample_rate, limits)
    raise AudioInputError(
        f"a dict with the keys {', '.join(map(repr, source)) or '(none)'} arrived; a recording is a dict with 'array' "
        "(or 'raw') and 'sampling_rate', or with 'path' (a path) or 'bytes' (bytes)"
    )


def _not_found(path: str) -> str:
    """Say what is missing, the folder or the file, and which existing names come near."""
    if not path:
        return "an empty path arrived; the path of a recording was expected"
    target = Path(path)
    parent = target.parent
    if target.is_symlink():
        return f"{path} is a link to {os.readlink(target)}, which does not exist; give the path of a recording"
    if not parent.is_dir():
        return f"there is no file {path}: the folder {parent} does not exist; give the path of a recording"
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MAX_LISTED), strict=False)]
    except PermissionError:
        names = []
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(target.name.casefold(), folded, n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(str(parent / folded[name]) for name in close)}?" if close else ""
    return f"there is no file {path}{hint or '; give the path of a recording'}"
