"""The samples of a recording of any length, a window at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np


class RollingSamples:
    """Reads blocks as windows ask for them; holds a window and the rest of a block, not the recording.

    `start` is the absolute position, in samples, of the first sample held: a whole number, so that no
    offset is ever rounded; the first block begins where it is put. `ended` is whether the blocks are used up.
    """

    def __init__(self, blocks: Iterator[np.ndarray], start: int = 0) -> None:
        self.start = start
        self.ended = False
        self._blocks = blocks
        self._held: deque[np.ndarray] = deque()
        self._n_held = 0

    @property
    def end(self) -> int:
        """The absolute position after the last sample read; the length of the recording once `ended`."""
        return self.start + self._n_held

    def window(self, n_samples: int) -> np.ndarray:
        """The next samples, `n_samples` or what is left; they stay held until `skip`."""
        while self._n_held < n_samples and not self.ended:
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
            elif len(block):
                self._held.append(block)
                self._n_held += len(block)
        if not self._held:
            return np.zeros(0, dtype=np.float32)
        if len(self._held) > 1:
            self._held = deque([np.concatenate(self._held)])
        return self._held[0][:n_samples]

    def skip(self, n_samples: int) -> None:
        """Let go of samples; never more than are held."""
        assert n_samples <= self._n_held, "a window gave these samples, so they are held"
        self.start += n_samples
        self._n_held -= n_samples
        while n_samples:
            first = self._held.popleft()
            if len(first) > n_samples:
                self._held.appendleft(first[n_samples:].copy())  # a view would keep the whole block alive
                break
            n_samples -= len(first)

    def skip_to(self, position: int, n_at_once: int) -> None:
        """Read on to an absolute position, or the end, in pieces of `n_at_once` samples that are let go of."""
        while self.start < position and len(held := self.window(min(n_at_once, position - self.start))):
            self.skip(len(held))


class Reader:
    """The blocks of a recording, read once, some spans of them passed on."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self.position = 0  # samples read so far, whether passed on or not
        self._blocks = blocks
        self._rest = np.zeros(0, dtype=np.float32)  # of the last block, what comes after `position`

    def span(self, start: int, end: int | None) -> Iterator[np.ndarray]:
        """The blocks from `start` to `end`, absolute and not before `position`; an end of None is the recording's."""
        while end is None or self.position < end:
            block = self._rest if len(self._rest) else next(self._blocks, None)
            if block is None:
                return
            first = min(max(start - self.position, 0), len(block))
            last = len(block) if end is None else min(len(block), end - self.position)
            self._rest = block[last:]
            self.position += last
            if first < last:
                yield block[first:last]
