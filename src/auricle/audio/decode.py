"""Anything that is a recording → mono float32 blocks at the rate that a model wants, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import av
import numpy as np

from auricle.audio.container import translate
from auricle.audio.limits import DEFAULT_LIMITS, MAX_SAMPLE, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioLimits
from auricle.audio.resample import resampled
from auricle.audio.sources import Recording, open_source
from auricle.errors import AudioError, AudioFormatError, AudioInputError, AudioTooLargeError, OptionError

__all__ = ["Audio", "AudioLimits", "load_audio", "open_audio", "open_channels"]


class Audio:
    """One opened recording, read once from its beginning to its end.

    `sample_rate` is the rate of the samples it gives. `duration` is in seconds as the source states it, or
    None; after the last block it is what was read. `name` is the path, the URL or a word such as "<bytes>".
    `warnings` says, once everything was read, what about the recording is not as it should be. `channel` is the
    one that is heard, counted from 0, or None for the mean of all.
    """

    def __init__(self, recording: Recording, sample_rate: int, limits: AudioLimits) -> None:
        self.sample_rate = sample_rate
        self.duration: float | None = recording.duration
        self.name: str = recording.name
        self.warnings: list[str] = recording.warnings
        self.channel = recording.channel
        self._recording, self._limits = recording, limits
        # A duration that is only guessed from a bit rate refuses nothing; `blocks` counts what really comes.
        if limits.max_duration is not None and recording.stated > limits.max_duration:
            self.close()
            raise self._too_long(limits.max_duration, "max_duration")
        self._started = False

    def blocks(self) -> Iterator[np.ndarray]:
        """Give mono float32 blocks of at most a few seconds, in order; channels are averaged, or one is picked.

        The recording is closed after the last one, and on an error.

        Raises: AudioError
        """
        if self._started:
            raise AudioError(f"{self.name} was read already; open it again with open_audio to read it again")
        self._started = True
        n_samples, limit = 0, self._limits.max_duration
        try:
            for block in resampled(self._recording.blocks(), self.sample_rate):
                n_samples += block.size
                if limit is not None and n_samples > limit * self.sample_rate:
                    raise self._too_long(limit, "max_duration")
                peak = float(np.abs(block).max(initial=0.0))
                if not np.isfinite(peak):
                    raise AudioFormatError(
                        f"{self.name} holds samples that are NaN or infinite; finite ones were expected: replace "
                        "them, for instance with np.nan_to_num"
                    )
                if peak > MAX_SAMPLE:
                    raise AudioFormatError(
                        f"{self.name} holds samples that reach {peak:.6g}, but full scale is 1.0: divide them by what "
                        "full scale is for them"
                    )
                if block.size:
                    yield block
        except AudioError:
            raise
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise translate(error, self.name) from error
        finally:
            self._recording.close()
        if not n_samples:
            raise AudioFormatError(f"{self.name} is shorter than one sample at {self.sample_rate} Hz")
        self.duration = n_samples / self.sample_rate

    def read(self) -> np.ndarray:
        """Return everything that `blocks` gives as one array.

        Raises: AudioError; AudioTooLargeError beyond `AudioLimits.max_read_duration`
        """
        pieces, n_samples, limit = [], 0, self._limits.max_read_duration
        for block in self.blocks():
            n_samples += block.size
            if n_samples > limit * self.sample_rate:
                self.close()
                raise self._too_long(limit, "max_read_duration")
            pieces.append(block)
        return np.concatenate(pieces)

    def sha256(self) -> str:
        """Return the digest of the source's bytes, or of float32 samples where it is samples; before it is closed.

        Source bytes pass at about 1 GB a second; the file is read once more for it.
        """
        digest = hashlib.sha256()
        try:
            for chunk in self._recording.content():
                digest.update(chunk)
        except (OSError, ValueError) as error:
            raise translate(error, self.name) from error
        return digest.hexdigest()

    def again(self) -> Recording:
        """Return the same source for another `open_audio`, at its beginning and any rate; before this one is closed.

        What can be read only once, such as standard input, was copied when it was opened, and is kept until both are
        closed.
        """
        return self._recording.again()

    def close(self) -> None:
        """Close the source; a file object of the caller stays open and stands where it stood."""
        self._recording.close()

    def __enter__(self) -> Audio:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _too_long(self, limit: float, field: str) -> AudioTooLargeError:
        advice = ", read it with Audio.blocks in constant memory," if field == "max_read_duration" else ""
        return AudioTooLargeError(
            f"{self.name} lasts longer than {limit:g} s, the limit of AudioLimits.{field}; cut it{advice} or "
            "raise the limit"
        )


def open_audio(
    source: Any, sample_rate: int = 16000, *, limits: AudioLimits = DEFAULT_LIMITS, channel: int | None = None
) -> Audio:
    """Open one recording, to be read as mono float32 at `sample_rate`.

    `source` is a path, "-" (standard input), an http(s) URL, bytes, a binary file object, a numpy array or
    torch tensor at `sample_rate`, a torchcodec decoder, or a dict: samples as "array" or "raw" with
    "sampling_rate", or "bytes", or "path". Nothing the caller passes is changed; a file object that can seek
    is read from its beginning and put back where it stood. `channel` is the one to hear, counted from 0; None is
    the mean of all.

    >>> open_audio({"array": np.zeros(8000), "sampling_rate": 8000}).read().shape
    (16000,)

    Raises: AudioError; AudioInputError where there is no such channel
    """
    _check_rate(sample_rate)
    recording = open_source(source, sample_rate, limits)
    if channel is not None:
        n_channels = recording.n_channels
        if not 0 <= channel < n_channels:
            recording.close()
            raise AudioInputError(
                f"channel {channel} of {recording.name} was asked for, which has {n_channels}, counted from 0; "
                f"give {' or '.join(map(str, range(n_channels))) if n_channels < 4 else f'0 to {n_channels - 1}'}"
            )
        recording.channel = channel
    return Audio(recording, sample_rate, limits)


def open_channels(source: Any, sample_rate: int = 16000, *, limits: AudioLimits = DEFAULT_LIMITS) -> list[Audio]:
    """Open each channel of a recording by itself; what `open_audio` says holds for each.

    They can be read in any order and at any pace: each decodes the file for itself. Where all channels hold the
    same samples there is nothing to tell apart: channel 0 comes alone, and its `warnings` say so.

    Raises: AudioError
    """
    _check_rate(sample_rate)
    recording = open_source(source, sample_rate, limits)
    try:
        n_channels = recording.n_channels
        equal = n_channels > 1 and recording.has_equal_channels()
        apart = [recording] if equal or n_channels == 1 else recording.apart()
    except BaseException as error:
        recording.close()
        if isinstance(error, av.error.FFmpegError | OSError | ValueError) and not isinstance(error, AudioError):
            raise translate(error, recording.name) from error
        raise
    if equal:
        recording.warnings.append(
            f"{recording.name} has {n_channels} channels with the same samples, so that no voices can be told apart "
            "by them; the first one was heard"
        )
    apart[0].channel = 0
    return [Audio(one, sample_rate, limits) for one in apart]


def _check_rate(sample_rate: int) -> None:
    if not isinstance(sample_rate, int) or not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise OptionError(
            f"sample_rate is {sample_rate!r}; it must be an int from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}"
        )


def load_audio(source: Any, sample_rate: int = 16000, *, limits: AudioLimits = DEFAULT_LIMITS) -> np.ndarray:
    """Return one whole recording as mono float32 at `sample_rate`; see `open_audio`."""
    return open_audio(source, sample_rate, limits=limits).read()
