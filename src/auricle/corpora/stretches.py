"""Samples of stretches of recordings; those of one recording that come in order are read in one go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from auricle.audio.limits import DEFAULT_LIMITS, AudioLimits
from auricle.errors import AudioFormatError

if TYPE_CHECKING:
    import numpy as np


class Stretches:
    """Reads stretches. What lies before the last one's start is not kept, and nothing behind it is read ahead."""

    def __init__(self, sample_rate: int, limits: AudioLimits = DEFAULT_LIMITS, *, channel: int | None = None) -> None:
        """Read the mean of all channels, or one of them, counted from 0."""
        self._rate, self._limits, self._channel = sample_rate, limits, channel
        self._audio: Any = None
        self._of: Any = None  # what is open: a row's audio
        self._blocks: Iterator[np.ndarray] = iter(())
        self._held: list[np.ndarray] = []
        self._first = self._last = 0  # samples that are held, counted from the recording's start
        self._is_read = False

    def read(self, source: Any, start: float | None, end: float | None) -> np.ndarray:
        """Return the samples from `start` to `end` seconds, float32; of a recording that ends before, what there is.

        Raises:
            AudioError: the recording cannot be read, or ends before the stretch begins. AudioInputError: it has no
                such channel.
        """
        import numpy as np

        first = round((start or 0.0) * self._rate)
        last = None if end is None else round(end * self._rate)
        # By identity: a comparison of arrays is no truth, and one of bytes reads them all.
        if self._audio is None or not (self._of is source or _same_path(self._of, source)) or first < self._first:
            self._open(source)
        try:
            self._read_to(first, last)
        except BaseException:
            self.close()
            raise
        whole = np.concatenate(self._held) if self._held else np.zeros(0, np.float32)
        samples = whole[max(0, first - self._first) : None if last is None else max(0, last - self._first)]
        if not samples.size:
            raise self._too_short(start or 0.0, end)
        return samples.copy()

    def close(self) -> None:
        """Close the recording that is open."""
        if self._audio is not None:
            self._audio.close()
        self._audio = self._of = None
        self._blocks, self._held = iter(()), []  # they hold the decoder

    def _open(self, source: Any) -> None:
        from auricle.audio.decode import open_audio

        self.close()
        self._audio = open_audio(source, self._rate, limits=self._limits, channel=self._channel)
        self._of, self._blocks = source, self._audio.blocks()
        self._held, self._first, self._last, self._is_read = [], 0, 0, False

    def _read_to(self, start: int, end: int | None) -> None:
        """Hold what lies from `start` to `end`, and drop the blocks before."""
        while not self._is_read and (end is None or self._last < end):
            self._drop_before(start)
            block = next(self._blocks, None)
            if block is None:
                self._is_read = True
            else:
                self._held.append(block)
                self._last += block.size
        self._drop_before(start)

    def _drop_before(self, start: int) -> None:
        while self._held and self._first + self._held[0].size <= start:
            self._first += self._held.pop(0).size

    def _too_short(self, start: float, end: float | None) -> AudioFormatError:
        until = "its end" if end is None else f"{end:g} s"
        return AudioFormatError(
            f"{self._audio.name} lasts {self._last / self._rate:.2f} s, and the stretch from {start:g} s to {until} "
            "was asked for; correct the dataset's times"
        )


def _same_path(one: Any, other: Any) -> bool:
    return isinstance(one, str) and isinstance(other, str) and one == other
