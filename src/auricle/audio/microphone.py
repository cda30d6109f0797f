"""Sound from the default input device, through PortAudio and the package `sounddevice`."""

from __future__ import annotations

import itertools
import logging
import queue
from collections.abc import Iterator
from typing import Any

import numpy as np

from auricle.errors import AudioInputError, MissingExtraError

logger = logging.getLogger("auricle")
_BLOCK_S = 0.05  # what the device gives at once


class Microphone:
    """The default input device, at its own rate.

    Raises: MissingExtraError without sounddevice or PortAudio; AudioInputError without a device
    """

    def __init__(self) -> None:
        try:
            import sounddevice
        except ImportError as error:
            raise MissingExtraError(
                "the microphone needs the package sounddevice; install it with: pip install 'auricle[mic]'"
            ) from error
        except OSError as error:  # the package is there and the library that it wraps is not
            raise MissingExtraError(
                f"the microphone needs the library PortAudio: {error}; install it (Debian and Ubuntu: libportaudio2)"
            ) from error
        self._module = sounddevice
        self._waiting: queue.SimpleQueue[np.ndarray | None] = queue.SimpleQueue()
        try:
            self._rate = round(sounddevice.query_devices(kind="input")["default_samplerate"])
        except (sounddevice.PortAudioError, ValueError) as error:
            raise AudioInputError(f"there is no microphone: {error}; connect one, or name another source") from error

    def blocks(self) -> Iterator[tuple[np.ndarray, int]]:
        """Record from the first block on until the device goes away or this is closed; mono float32 and its rate.

        What comes while nobody reads is kept and given as one block.
        """
        try:
            with self._module.InputStream(
                samplerate=self._rate,
                channels=1,
                dtype="float32",
                blocksize=round(_BLOCK_S * self._rate),
                callback=self._take,
                finished_callback=lambda: self._waiting.put(None),
            ):
                yield from ((block, self._rate) for block in self._recorded())
        except self._module.PortAudioError as error:
            raise AudioInputError(f"the microphone cannot be used: {error}; free it, or name another source") from error

    def _take(self, frames: np.ndarray, n_frames: int, time: Any, status: Any) -> None:
        """Keep what PortAudio gives, in a thread of its own."""
        if status:
            logger.warning("the microphone: %s; some sound is lost", status)
        self._waiting.put(frames[:, 0].copy())

    def _recorded(self) -> Iterator[np.ndarray]:
        """Give all that waits as one block; None ends it."""
        while True:
            found = [self._waiting.get()]
            while not self._waiting.empty():
                found.append(self._waiting.get())
            there = list(itertools.takewhile(lambda block: block is not None, found))
            if there:
                yield np.concatenate([block for block in there if block is not None])
            if len(there) < len(found):
                return
