"""Rows made ready to be computed, while others are: their sound is decoded in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeVar

from auricle.audio.decode import open_audio
from auricle.audio.limits import AudioLimits
from auricle.bulk.options import BulkOptions
from auricle.corpora import Utterance
from auricle.corpora.stretches import Stretches
from auricle.errors import AudioInputError, AuricleError

if TYPE_CHECKING:
    import numpy as np

One = TypeVar("One")
_LOOK_AGAIN = 0.1  # seconds after which a thread that cannot hand over looks whether it is to end


@dataclass(frozen=True)
class Heard:
    """A row that is ready: what the pipeline takes, or why it is not to be had."""

    number: int  # of the row in the dataset
    row: Utterance
    source: Any = None
    seconds: float = 0.0
    is_long: bool = False  # it is not in memory, and computed alone
    warnings: tuple[str, ...] = ()  # about the recording
    error: AuricleError | None = None


class Listener:
    """Opens rows. A stretch of a recording is cut; what is long, or has channels to hear apart, is left as it is."""

    def __init__(self, sample_rate: int, limits: AudioLimits, options: BulkOptions) -> None:
        self._rate, self._limits, self._options = sample_rate, limits, options
        self._channel = picked_channel(options)
        self._is_split = options.parameters.get("channels") == "split"
        self._stretches = [Stretches(sample_rate, limits, channel=0 if self._is_split else self._channel)]

    def hear(self, number: int, row: Utterance) -> Heard:
        """Decode a row; what is wrong with its sound is part of the result."""
        try:
            if row.start is not None or row.end is not None:
                read = self._apart if self._is_split else self._stretches[0].read
                return self._in_memory(number, row, read(row.audio, row.start, row.end), ())
            if self._is_split or (row.duration or 0.0) > self._options.long_seconds:
                return Heard(number, row, row.audio, row.duration or 0.0, is_long=True)
            return self._whole(number, row)
        except AuricleError as error:
            return Heard(number, row, error=error)

    def close(self) -> None:
        """Close what is open."""
        for stretches in self._stretches:
            stretches.close()

    def _apart(self, source: Any, start: float | None, end: float | None) -> np.ndarray:
        """Read a stretch of every channel: (channels, samples), or (samples,) where there is one."""
        import numpy as np

        found: list[np.ndarray] = []
        while True:
            if len(found) == len(self._stretches):
                self._stretches.append(Stretches(self._rate, self._limits, channel=len(found)))
            try:
                found.append(self._stretches[len(found)].read(source, start, end))
            except AudioInputError:  # there is no such channel
                if not found:
                    raise
                return found[0] if len(found) == 1 else np.stack(found)

    def _whole(self, number: int, row: Utterance) -> Heard:
        import numpy as np

        pieces, n_samples, longest = [], 0, self._options.long_seconds * self._rate
        with open_audio(row.audio, self._rate, limits=self._limits, channel=self._channel) as audio:
            for block in audio.blocks():
                pieces.append(block)
                n_samples += block.size
                if n_samples > longest:
                    return Heard(number, row, row.audio, audio.duration or n_samples / self._rate, is_long=True)
            return self._in_memory(number, row, np.concatenate(pieces), tuple(audio.warnings))

    def _in_memory(self, number: int, row: Utterance, samples: np.ndarray, warnings: tuple[str, ...]) -> Heard:
        source = {"array": samples, "sampling_rate": self._rate}
        return Heard(number, row, source, samples.shape[-1] / self._rate, warnings=warnings)


def picked_channel(options: BulkOptions) -> int | None:
    """Return the one channel that is heard; None: their mean, or each by itself."""
    channel = options.parameters.get("channels")
    return int(channel) if isinstance(channel, Integral) else None


def windows(rows: Iterable[tuple[int, Utterance]], listener: Listener, options: BulkOptions) -> Iterator[list[Heard]]:
    """Give rows in windows, each within one shard, of which so many seconds are in memory."""
    window: list[Heard] = []
    seconds = 0.0
    for number, row in rows:
        if window and number // options.shard_size != window[0].number // options.shard_size:
            yield window
            window, seconds = [], 0.0
        heard = listener.hear(number, row)
        window.append(heard)
        seconds += 0.0 if heard.is_long else heard.seconds
        if len(window) >= options.window_rows or seconds >= options.window_seconds:
            yield window
            window, seconds = [], 0.0
    if window:
        yield window


@contextmanager
def ahead(source: Iterator[One]) -> Iterator[Iterator[One]]:
    """Run an iterator in a thread, one item ahead of who takes them; what it raises, the taker gets."""
    found: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=1)
    is_over = threading.Event()

    def put(item: tuple[bool, Any]) -> bool:
        while not is_over.is_set():
            try:
                found.put(item, timeout=_LOOK_AGAIN)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            for item in source:
                if not put((True, item)):
                    return
        except BaseException as error:  # it is raised where the items are taken
            put((False, error))
        else:
            put((False, None))

    def take() -> Iterator[One]:
        while True:
            is_item, value = found.get()
            if is_item:
                yield value
            elif value is None:
                return
            else:
                raise value

    thread = threading.Thread(target=run, name="auricle-listening", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        is_over.set()
        thread.join()
