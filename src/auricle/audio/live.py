"""Sound that is still being made: a microphone, a pipe, blocks of samples; mono float32 as soon as it is there.

What is there already, a file or an array, is opened as any recording is and read from its beginning.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Protocol

import av
import numpy as np

from auricle.audio.arrays import ArrayRecording, checked_rate
from auricle.audio.container import FORMATS, MAX_DAMAGED_IN_A_ROW
from auricle.audio.decode import open_audio
from auricle.audio.limits import DEFAULT_LIMITS, AudioLimits
from auricle.audio.microphone import Microphone
from auricle.audio.resample import resampled
from auricle.audio.spool import open_pipe, read_pipe
from auricle.errors import (
    AudioError,
    AudioFormatError,
    AudioInputError,
    AudioTooLargeError,
    OptionError,
)

MICROPHONE = "mic"
_PIPE_BYTES = 1 << 16  # what a pipe holds
_SLOW_BYTES = 1 << 12  # asked of what only gives all that is asked: 0.13 s of raw samples at 16 kHz


class LiveAudio(Protocol):
    """Sound to be read once, while it is made."""

    name: str
    in_real_time: bool  # whether blocks come when they were made, and several as one where reading was late

    def blocks(self) -> Iterator[np.ndarray]:
        """Mono float32 blocks of any length, in order."""
        ...

    def close(self) -> None:
        """Let go of the source; nothing is read after it."""
        ...


def open_live(
    source: Any,
    sample_rate: int = 16000,
    *,
    raw: bool = False,
    sampling_rate: int | None = None,
    limits: AudioLimits = DEFAULT_LIMITS,
) -> LiveAudio:
    """Open what is to be heard while it comes in, as mono float32 at `sample_rate`.

    `source` is "mic", "-" (standard input), a path, a named pipe, a URL, bytes, a file object, an array, a
    mapping as in `open_audio`, or anything that gives blocks one by one: arrays (samples,) or (channels,
    samples) at `sampling_rate`, or mappings with "array" and "sampling_rate".
    With `raw` its bytes are 16-bit little-endian mono samples at `sampling_rate`, without a header; then it
    may also give blocks of bytes. Containers are decoded while they come in; one whose index lies at its end,
    as an MP4's may, cannot be.

    Raises: AudioError; OptionError for a rate that is missing or of no use; MissingExtraError
    """
    gives_blocks = _gives_blocks(source)
    is_array = hasattr(source, "__array__")
    if raw and (source == MICROPHONE if isinstance(source, str) else is_array or isinstance(source, Mapping)):
        raise OptionError(f"raw=True is for bytes without a header, and {_named(source)} is none; leave it out")
    if raw and sampling_rate is None:
        raise OptionError("raw=True needs sampling_rate, in hertz: samples without a header do not say theirs")
    if sampling_rate is not None and not (raw or is_array or gives_blocks):
        raise OptionError(f"sampling_rate={sampling_rate!r} is of no use: {_named(source)} says its own; leave it out")
    rate = sample_rate if sampling_rate is None else checked_rate(sampling_rate, "sampling_rate")
    if isinstance(source, str) and source == MICROPHONE:
        return _Stream(MICROPHONE, Microphone().blocks(), sample_rate, limits, True)
    if raw:
        chunks, in_real_time = (source, False) if gives_blocks else _chunks(source, limits)
        if chunks is None:
            raise OptionError(f"raw=True takes a path, '-', bytes or a file object; {_named(source)} arrived")
        return _Stream(_named(source), _pcm(chunks, rate), sample_rate, limits, in_real_time)
    if gives_blocks:
        return _Stream("<blocks>", _converted(source, rate), sample_rate, limits, False)
    if _is_pipe(source):
        chunks, _ = _chunks(source, limits)
        assert chunks is not None, "a pipe gives bytes"
        name = _named(source)
        return _Stream(name, _decoded(chunks, name, limits), sample_rate, limits, True)
    if isinstance(source, str) and source == "-":
        source = sys.stdin.buffer  # a file that the shell has opened
    if is_array:
        source = {"array": source, "sampling_rate": rate}
    return _Recorded(open_audio(source, sample_rate, limits=limits))


class _Recorded:
    """A recording that is there already."""

    in_real_time = False

    def __init__(self, audio: Any) -> None:
        self.name: str = audio.name
        self.close: Callable[[], None] = audio.close
        self.blocks: Callable[[], Iterator[np.ndarray]] = audio.blocks


class _Stream:
    """Blocks at their own rates, brought to one."""

    def __init__(
        self,
        name: str,
        found: Iterator[tuple[np.ndarray, int]],
        sample_rate: int,
        limits: AudioLimits,
        in_real_time: bool,
    ) -> None:
        self.name, self.in_real_time = name, in_real_time
        self._found, self._sample_rate, self._limits = found, sample_rate, limits

    def blocks(self) -> Iterator[np.ndarray]:
        n_samples, limit = 0, self._limits.max_duration
        try:
            for block in resampled(self._found, self._sample_rate):
                n_samples += len(block)
                if limit is not None and n_samples > limit * self._sample_rate:
                    raise AudioTooLargeError(
                        f"{self.name} lasts longer than {limit:g} s, the limit of AudioLimits.max_duration; end it "
                        "sooner or raise the limit"
                    )
                if not np.isfinite(block).all():
                    raise AudioFormatError(f"{self.name} holds samples that are NaN or infinite; give finite ones")
                if block.size:
                    yield block
        except AudioError:
            raise
        except av.error.FFmpegError as error:
            raise _undecodable(error, self.name) from error
        except (OSError, ValueError) as error:
            raise AudioError(f"{self.name}: reading failed: {error}; look at what writes to it") from error
        finally:
            self.close()

    def close(self) -> None:
        close = getattr(self._found, "close", None)
        if close is not None:
            close()


def _gives_blocks(source: Any) -> bool:
    """Whether it is iterated over for blocks: not what is one recording, of which a file has lines, too."""
    if isinstance(source, str | bytes | bytearray | memoryview | Mapping):
        return False
    one = any(hasattr(source, sign) for sign in ("read", "__array__", "__fspath__", "get_all_samples"))
    return not one and hasattr(source, "__iter__")


def _named(source: Any) -> str:
    if isinstance(source, str | os.PathLike):
        return "<stdin>" if source == "-" else os.fspath(source)
    return f"<{type(source).__name__}>"


def _is_pipe(source: Any) -> bool:
    """Whether it gives bytes that cannot be read again: a pipe by name, standard input, a file object."""
    if isinstance(source, str) and source == "-":
        stdin = getattr(sys.stdin, "buffer", None)
        if stdin is None or sys.stdin.isatty():
            raise AudioInputError("'-' is standard input, but nothing is piped into it; pipe a recording to it")
        source = stdin
    if isinstance(source, str | os.PathLike):
        try:
            return stat.S_ISFIFO(os.stat(source).st_mode)
        except (OSError, ValueError):  # which opening it says in words
            return False
    return hasattr(source, "read") and not (hasattr(source, "seekable") and source.seekable())


def _chunks(source: Any, limits: AudioLimits) -> tuple[Iterable[bytes] | None, bool]:
    """Give the bytes of a source as they come, and say whether they come in real time; None if it has none."""
    if isinstance(source, bytes | bytearray | memoryview):
        return [bytes(source)], False
    in_real_time = _is_pipe(source)
    if isinstance(source, str) and source == "-":
        source = sys.stdin.buffer
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        try:
            if in_real_time:
                return read_pipe(open_pipe(path), path, limits.pipe_timeout), True
            return _read_file(open(path, "rb")), False
        except OSError as error:
            raise AudioInputError(f"{path} cannot be opened: {error.strerror}; give the path of a recording") from error
    if hasattr(source, "read1"):  # gives what is there
        return iter(lambda: source.read1(_PIPE_BYTES), b""), in_real_time
    if hasattr(source, "read"):
        return iter(lambda: source.read(_SLOW_BYTES), b""), in_real_time
    return None, False


def _read_file(file: Any) -> Iterator[bytes]:
    with file:
        yield from iter(lambda: file.read(_PIPE_BYTES), b"")


def _pcm(chunks: Iterable[bytes], rate: int) -> Iterator[tuple[np.ndarray, int]]:
    """Turn 16-bit little-endian samples into floats; a sample may be cut by two chunks."""
    rest = b""
    for chunk in chunks:
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise AudioInputError(f"raw=True and {type(chunk).__name__} arrived; expected bytes of 16-bit samples")
        held = rest + bytes(chunk)
        n_bytes = len(held) // 2 * 2
        rest = held[n_bytes:]
        yield np.frombuffer(held[:n_bytes], "<i2").astype(np.float32) / 32768, rate


def _converted(blocks: Iterable[Any], rate: int) -> Iterator[tuple[np.ndarray, int]]:
    """Turn blocks of any dtype and number of channels into mono floats, each at its own rate."""
    for block in blocks:
        own = rate
        if isinstance(block, Mapping):
            samples = block["raw"] if block.get("raw") is not None else block.get("array")
            if samples is None or block.get("sampling_rate") is None:
                raise AudioInputError("a block that is a dict needs 'array' (or 'raw') and 'sampling_rate'; add them")
            block, own = samples, checked_rate(block["sampling_rate"], "<blocks>")
        if isinstance(block, str | bytes):
            raise AudioInputError(
                f"{type(block).__name__} arrived as a block of samples; give arrays, or bytes of 16-bit samples "
                "with raw=True"
            )
        samples = np.asarray(block)
        if samples.size:
            recording = ArrayRecording(samples, own, "<blocks>")
            yield from recording.blocks()
            if recording.warnings:  # the detector of voice hears nothing in samples of another unit
                raise AudioInputError(recording.warnings[0])


def _decoded(chunks: Iterable[bytes], name: str, limits: AudioLimits) -> Iterator[tuple[np.ndarray, int]]:
    """Decode a container while its bytes come in; damaged packets are left out."""
    reader = _Reader(chunks)
    try:
        container: Any = av.open(
            SimpleNamespace(read=reader),
            mode="r",
            metadata_errors="ignore",
            container_options={"format_whitelist": FORMATS, "protocol_whitelist": ""},
        )
    except av.error.FFmpegError as error:
        if not reader.n_bytes and reader.interrupt is None:
            raise AudioFormatError(
                f"{name} cannot be decoded while it comes in: nothing arrived (0 bytes); look at what writes to it"
            ) from error
        raise reader.interrupt or _undecodable(error, name) from error
    with container:
        if not container.streams.audio:
            raise AudioFormatError(f"{name} has no audio stream; a recording or a video with sound was expected")
        stream, n_damaged = container.streams.audio[0], 0
        key, converter = None, None
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
                n_damaged = 0
            except av.error.EOFError:
                break
            except av.error.InvalidDataError:
                n_damaged, frames = n_damaged + 1, []
                if n_damaged > MAX_DAMAGED_IN_A_ROW:
                    raise
            for frame in frames:
                if frame.layout.nb_channels > limits.max_channels:
                    raise AudioFormatError(
                        f"{name} has {frame.layout.nb_channels} channels; at most {limits.max_channels} were expected"
                    )
                if key != (frame.sample_rate, frame.layout.name, frame.format.name):
                    key = (frame.sample_rate, frame.layout.name, frame.format.name)
                    converter = av.AudioResampler("flt", frame.layout, frame.sample_rate)
                assert converter is not None
                for piece in converter.resample(frame):
                    samples = piece.to_ndarray().reshape(-1, frame.layout.nb_channels)  # (samples, channels)
                    yield samples.mean(axis=1), frame.sample_rate
    if reader.interrupt is not None:
        raise reader.interrupt


def _undecodable(error: av.error.FFmpegError, name: str) -> AudioFormatError:
    return AudioFormatError(
        f"{name} cannot be decoded while it comes in: {error.strerror}; give a WAV, FLAC, MP3, Ogg or WebM stream, "
        "raw=True for samples without a header, or save it to a file first"
    )


class _Reader:
    """Gives bytes as they come, at most as many as asked. Ctrl-C ends them, and is kept to be raised."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._rest = iter(chunks), b""
        self.n_bytes = 0  # that were given
        self.interrupt: KeyboardInterrupt | None = None

    def __call__(self, n_bytes: int) -> bytes:
        if not self._rest:
            try:
                self._rest = b"" if self.interrupt else next(self._chunks, b"")
            except KeyboardInterrupt as interrupt:  # which does not pass through FFmpeg
                self.interrupt = interrupt
        found, self._rest = self._rest[:n_bytes], self._rest[n_bytes:]
        self.n_bytes += len(found)
        return found
