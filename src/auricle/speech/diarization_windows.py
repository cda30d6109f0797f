"""A recording in overlapping chunks, and what the segmentation says of each, held small.

Chunks begin every `step_s` seconds from the start on; the last one is filled up with zeros. Only the samples of a few
chunks are held at a time.

Dimension key: N samples, B chunks of a stretch, T frames of a chunk, S speakers within a chunk (places), P sets of
them, Q pieces of a chunk.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from auricle.models.pyannet import PyanNetConfig

FULL = 255  # of a probability that is held in a byte
PAUSE = 3  # frames: from about a tenth of a second on, somebody else may go on


@dataclass(frozen=True)
class Geometry:
    """Where chunks and frames are."""

    sample_rate: int
    chunk_samples: int
    step_samples: int
    n_frames: int  # of a chunk
    frame_samples: int  # that a frame hears
    hop_samples: int  # from one frame to the next

    @classmethod
    def of(cls, config: PyanNetConfig, step: float) -> Geometry:
        """Return the geometry of a segmentation whose chunks are `step` of a chunk apart."""
        hears, hop = config.frame_samples
        n_samples = config.chunk_samples
        step_samples = max(1, round(step * config.duration * config.sample_rate))
        return cls(config.sample_rate, n_samples, step_samples, config.n_frames(n_samples), hears, hop)

    def n_chunks(self, n_samples: int) -> int:
        """Chunks of so many samples; what is left behind the last whole one is one more."""
        beyond = max(0, n_samples - self.chunk_samples)
        return 1 + -(-beyond // self.step_samples)

    def first_frame(self, chunk: int) -> int:
        """The frame of the recording that is nearest to the start of a chunk."""
        return int(np.rint(chunk * self.step_samples / self.hop_samples))

    def total_frames(self, n_chunks: int) -> int:
        """Frames of a recording of so many chunks."""
        return int(np.rint((self.chunk_samples + (n_chunks - 1) * self.step_samples) / self.hop_samples)) + 1

    def repeats(self, n_chunks: int) -> float:
        """Chunks that hear the same speech, in the mean over a recording of so many chunks."""
        return n_chunks * self.chunk_samples / (self.chunk_samples + (n_chunks - 1) * self.step_samples)

    def time(self, frame: int) -> float:
        """The middle of a frame, in seconds."""
        return (frame * self.hop_samples + self.frame_samples / 2) / self.sample_rate


@dataclass(frozen=True)
class Stretch:
    """Samples that hold a few whole chunks."""

    samples: np.ndarray  # (N,) float32
    starts: list[int]  # of each chunk, in these samples
    heard: int  # samples of the recording up to here, without zeros that were filled in


def stretches(blocks: Iterable[np.ndarray], geometry: Geometry, batch_size: int) -> Iterator[Stretch]:
    """Give the chunks of a recording in order, up to `batch_size` at a time; what is over is dropped at once."""
    chunk, step = geometry.chunk_samples, geometry.step_samples
    n_whole = chunk + (batch_size - 1) * step
    held: list[np.ndarray] = []
    n_held = n_heard = n_given = 0
    for block in blocks:
        held.append(np.asarray(block, np.float32))
        n_held += block.size
        n_heard += block.size
        if n_held < n_whole:
            continue
        samples = np.concatenate(held)
        while len(samples) >= n_whole:
            n_given += batch_size
            done = min(n_heard, chunk + (n_given - 1) * step)
            yield Stretch(samples[:n_whole], [number * step for number in range(batch_size)], done)
            samples = samples[batch_size * step :]
        # A copy: a view would keep all of it in memory.
        held, n_held = [samples.copy()], len(samples)
    n_left = geometry.n_chunks(n_heard) - n_given if n_heard else 0
    if n_left:
        samples = np.concatenate(held)
        filled = np.zeros(chunk + (n_left - 1) * step, np.float32)
        kept = samples[: len(filled)]
        filled[: len(kept)] = kept
        yield Stretch(filled, [number * step for number in range(n_left)], n_heard)


@dataclass(frozen=True)
class Decision:
    """What was decided of one chunk.

    A piece is speech of one place of the chunk that is heard as one voice: all of it, or a part between two pauses.
    """

    sets: np.ndarray  # (T,) uint8, the most probable set of speakers
    probabilities: np.ndarray  # (T,) float32, of that set
    pieces: np.ndarray  # (Q, 3) int32, place, first frame and the frame after the last
    vectors: np.ndarray  # (Q,) int32, the number of each piece's vector; below 0, see `Voices` of the diarizer


class Decisions:
    """Keeps decisions in a few hundred bytes a chunk, in order."""

    def __init__(self) -> None:
        self._kept: list[tuple[bytes, bytes]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, decision: Decision) -> None:
        """Keep a decision; probabilities are rounded to 1/255."""
        quantised = np.rint(np.clip(decision.probabilities, 0.0, 1.0) * FULL).astype(np.uint8)
        frames = np.concatenate([decision.sets.astype(np.uint8), quantised])
        pieces = np.column_stack([decision.pieces, decision.vectors]).astype(np.int32)  # (Q, 4)
        self._kept.append((zlib.compress(frames.tobytes(), 1), pieces.tobytes()))

    def __iter__(self) -> Iterator[Decision]:
        for frames, pieces in self._kept:
            both = np.frombuffer(zlib.decompress(frames), np.uint8)
            half = len(both) // 2
            rows = np.frombuffer(pieces, np.int32).reshape(-1, 4)
            yield Decision(both[:half], both[half:].astype(np.float32) / FULL, rows[:, :3], rows[:, 3])

    def vectors(self) -> np.ndarray:
        """The number of each piece's vector, (Q of all chunks,)."""
        return np.concatenate([np.zeros(0, np.int32), *(np.frombuffer(rows, np.int32)[3::4] for _, rows in self._kept)])


def whole_pieces(active: np.ndarray) -> np.ndarray:
    """All speech of each place that speaks in (T, S) as one piece, (Q, 3)."""
    places = np.flatnonzero(active.any(0))
    return np.column_stack([places, np.zeros_like(places), np.full_like(places, len(active))])


def cut_pieces(active: np.ndarray, longest: int) -> np.ndarray:
    """Speech of each place in (T, S) between pauses of `PAUSE` frames, in even parts of about `longest`, (Q, 3)."""
    found = []
    for place in range(active.shape[1]):
        edges = np.flatnonzero(np.diff(np.pad(active[:, place] > 0, 1).astype(np.int8))).reshape(-1, 2)
        parts: list[list[int]] = []
        for start, end in edges.tolist():
            if parts and start - parts[-1][1] < PAUSE:
                parts[-1][1] = end
            else:
                parts.append([start, end])
        for start, end in parts:
            n_parts = max(1, round((end - start) / longest))
            cuts = np.linspace(start, end, n_parts + 1).round().astype(int).tolist()
            found += [(place, first, last) for first, last in pairwise(cuts)]
    return np.array(found, int).reshape(-1, 3)


def masks(active: np.ndarray, pieces: np.ndarray, least_frames: int) -> np.ndarray:
    """Where the voice of each piece is to be heard, (Q, T) float32: where it is alone, if that is for long enough.

    `active` (T, S) is 1 where a place talks; more than `least_frames` must be left of a piece (Q, 3), or all of it
    counts. Where `least_frames` is below 0 all of it counts.
    """
    spoken = active.astype(np.float32)
    alone = spoken * (active.sum(1, keepdims=True) < 2)
    found = np.zeros((len(pieces), len(active)), np.float32)
    for row, (place, start, end) in enumerate(pieces.tolist()):
        is_enough = 0 <= least_frames < alone[start:end, place].sum()
        found[row, start:end] = (alone if is_enough else spoken)[start:end, place]
    return found
