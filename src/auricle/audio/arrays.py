"""Recordings that are already samples in memory: numpy arrays, torch tensors, and what holds them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from auricle.audio.limits import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from auricle.errors import AudioInputError

# In a 2-D array the axis of at most this many entries is taken as the channels (7.1 has 8).
MAX_ARRAY_CHANNELS = 8
_BLOCK_SAMPLES = 65536


class ArrayRecording:
    """Samples that the caller holds; they are read block by block, never copied whole and never changed."""

    def __init__(self, samples: np.ndarray, sample_rate: int, name: str) -> None:
        """Take (samples,), (channels, samples) or (samples, channels).

        The shorter of two axes is the channels, at most 8 of them; where both have at most 8 entries, or the
        same number, the first is. Integers of up to 32 bits are scaled by their dtype's full scale.

        Raises: AudioInputError
        """
        short = samples.ndim == 2 and min(samples.shape) <= MAX_ARRAY_CHANNELS
        if samples.size == 0 or not (samples.ndim == 1 or short):
            raise _refused_shape(samples.shape, name)
        integers = samples.dtype.kind in "iu"
        if not (samples.dtype.kind == "f" or (integers and samples.dtype.itemsize <= 4)):
            raise _refused_dtype(samples.dtype, name)
        self.name = name
        self.warnings: list[str] = []
        self.sample_rate = sample_rate
        channels_first = short and (samples.shape[0] <= samples.shape[1] or max(samples.shape) <= MAX_ARRAY_CHANNELS)
        self._frames = samples.T if channels_first else samples.reshape(len(samples), -1)  # (samples, channels)
        self.channel: int | None = None  # the one that is heard, from 0; None: the mean of all
        self._scale = 2.0 ** (8 * samples.dtype.itemsize - 1) if integers else 1.0
        self._zero = self._scale if samples.dtype.kind == "u" else 0.0
        self.stated = len(self._frames) / sample_rate  # seconds
        self.duration: float | None = self.stated

    @property
    def n_channels(self) -> int:
        """How many channels there are."""
        return int(self._frames.shape[1])

    def apart(self) -> list[ArrayRecording]:
        """Give a recording for each channel; they share the caller's samples with this one."""
        found = [copy.copy(self) for _ in range(self.n_channels)]
        for channel, recording in enumerate(found):
            recording.channel, recording.warnings = channel, []
        return found

    def again(self) -> ArrayRecording:
        """Give a further reader of the same samples, of the same channel."""
        found = copy.copy(self)
        found.warnings = []
        return found

    def has_equal_channels(self) -> bool:
        """Say whether all channels hold the same samples."""
        return all((part == part[:, :1]).all() for part in self._parts())

    def content(self) -> Iterator[bytes]:
        """Give the samples as float32, channel after channel of each moment: what identifies the recording."""
        for part in self._parts():
            yield self._scaled(part.astype(np.float64)).tobytes()

    def blocks(self) -> Iterator[tuple[np.ndarray, int]]:
        """Give mono float32 blocks with their rate."""
        peak = 0.0
        for part in self._parts():
            # What float32 cannot hold becomes infinite, which the reader refuses by name.
            with np.errstate(over="ignore", invalid="ignore"):
                block = part.mean(1, dtype=np.float64) if self.channel is None else part[:, self.channel]  # (samples,)
                block = self._scaled(block.astype(np.float64))
            peak = max(peak, float(np.abs(block).max()))
            yield block, self.sample_rate
        # Decoders overshoot full scale a little; a peak of 8 can only be another unit.
        if peak > 8 and np.isfinite(peak):
            self.warnings.append(
                f"{self.name}: float samples reach {peak:.6g}, but full scale is 1.0; if they are 16-bit values, "
                "divide by 32768 or pass them as int16"
            )

    def close(self) -> None:
        """Let go of the caller's array."""
        self._frames = self._frames[:0]

    def _parts(self) -> Iterator[np.ndarray]:
        """Cut the frames: (samples, channels) as the caller has them."""
        for start in range(0, len(self._frames), _BLOCK_SAMPLES):
            yield self._frames[start : start + _BLOCK_SAMPLES]

    @np.errstate(over="ignore", invalid="ignore")
    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return ((values - self._zero) / self._scale).astype(np.float32)


def _refused_shape(shape: tuple[int, ...], name: str) -> AudioInputError:
    if 0 in shape:
        return AudioInputError(f"{name}: an array of shape {shape} holds no samples; a recording has at least one")
    return AudioInputError(
        f"{name}: an array of shape {shape} arrived; a recording has 1 axis (samples), or 2 of which one is the "
        f"channels, at most {MAX_ARRAY_CHANNELS}: pass the recordings of a batch one by one"
    )


def _refused_dtype(dtype: np.dtype, name: str) -> AudioInputError:
    advice = "give floats from -1 to 1, or integers of 8, 16 or 32 bits"
    if dtype.kind in "iu":
        advice = (
            "64-bit integers are no sample format, so their full scale is unknown: cast them to what they are, e.g. "
            ".astype(np.int16)"
        )
    return AudioInputError(f"{name}: an array of dtype {dtype} arrived; {advice}")


def checked_rate(value: Any, name: str) -> int:
    """Return a sample rate as an int, or refuse it."""
    try:
        rate = int(value)
        usable = rate == value and not isinstance(value, bool) and MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE
    except (TypeError, ValueError, OverflowError):
        usable = False
    if not usable:
        raise AudioInputError(
            f"{name}: the sampling rate is {value!r}; it must be a whole number of hertz from {MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE}, such as 16000"
        )
    return rate


def tensor_samples(tensor: Any, name: str) -> np.ndarray:
    """View a torch tensor as numpy; only one on another device or in bfloat16 is copied."""
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise AudioInputError(f"{name}: a {tensor.layout} tensor of {tensor.dtype} arrived; give a dense real one")
    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.float()
    return tensor.numpy()
