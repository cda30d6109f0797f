"""Where the voice detector hears somebody, while a recording passes; for networks that do not know silence.

Dimension key: N detector frames of 32 ms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from auricle.engines.cpu.voice import FastVoiceProbabilities as VoiceProbabilities
from auricle.speech.voice import FRAME_S, FRAMES


@dataclass(frozen=True)
class Gate:
    """From probabilities of voice to voice."""

    threshold: float  # probability from which on somebody is heard
    pad_s: float = 0.0  # kept before and after
    min_silence_s: float = 0.0  # a shorter pause between two voiced stretches, once these are widened, is filled

    @property
    def reach(self) -> tuple[int, int]:
        """Frames by which voice is first widened on both sides, and those by which what came of it is narrowed."""
        narrowed = round(self.min_silence_s / 2 / FRAME_S)
        return round(self.pad_s / FRAME_S) + narrowed, narrowed


class VoiceTrack:
    """Notes where there is a voice while blocks pass; holds what was not forgotten."""

    def __init__(self, sample_rate: int, gate: Gate) -> None:
        self.sample_rate, self.gate = sample_rate, gate
        self._probabilities = VoiceProbabilities(sample_rate)
        self._loud = np.zeros(0, bool)  # (N,) at or above the threshold
        self._first = 0  # frames that were forgotten

    def hear(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Give the blocks, each as soon as it is settled where a voice is in it: some tenths of a second later."""
        held: deque[np.ndarray] = deque()
        n_given = 0
        for block in blocks:
            self._take(self._probabilities(block))
            held.append(block)
            n_settled = self._first + len(self._loud) - sum(self.gate.reach)
            settled = n_settled * FRAMES[1] * self.sample_rate // FRAMES[0]
            while held and n_given + len(held[0]) <= settled:
                n_given += len(held[0])
                yield held.popleft()
        self._take(self._probabilities.end())
        yield from held

    def at(self, samples: np.ndarray) -> np.ndarray:
        """Whether there is a voice at each of ascending places in the recording, in samples: booleans of that shape."""
        widened, narrowed = self.gate.reach
        frames = np.floor(np.asarray(samples) * FRAMES[0] / (FRAMES[1] * self.sample_rate)).astype(int)
        first, last = int(frames.min()), int(frames.max())
        reach = widened + narrowed
        places = np.arange(first - reach, last + reach + 1) - self._first
        is_there = (places >= 0) & (places < len(self._loud))
        loud = np.zeros(len(places), bool)
        loud[is_there] = self._loud[places[is_there]]
        voiced = ~_widened(~_widened(loud, widened), narrowed)
        return voiced[frames - first + reach]

    def has_voice(self, start: int, end: int) -> bool:
        """Whether there is a voice anywhere between two samples."""
        # Every frame is met, and the one at the end.
        step = FRAMES[1] * self.sample_rate // FRAMES[0]
        return bool(self.at(np.append(np.arange(start, end, step), end)).any())

    def forget(self, sample: int) -> None:
        """Drop what lies so far before a sample that it changes nothing from there on."""
        n_dropped = sample * FRAMES[0] // (FRAMES[1] * self.sample_rate) - sum(self.gate.reach) - self._first
        if n_dropped > 0:
            self._loud, self._first = self._loud[n_dropped:].copy(), self._first + n_dropped

    def _take(self, probabilities: np.ndarray) -> None:
        self._loud = np.concatenate([self._loud, probabilities >= self.gate.threshold])


def _widened(marked: np.ndarray, reach: int) -> np.ndarray:
    """Mark all within `reach` of what is marked, (N,); beyond the ends nothing is."""
    counts = np.cumsum(np.pad(marked, (reach + 1, reach)).astype(int))
    n_window = 2 * reach + 1
    found: np.ndarray = counts[n_window:] > counts[: len(counts) - n_window]
    return found
