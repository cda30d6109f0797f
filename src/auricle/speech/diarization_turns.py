"""From who talks in each chunk to turns: chunks are laid over each other, and frames become stretches of time.

How many talk at a frame is the mean of what the chunks over it say; who they are is what most of these chunks say.

Dimension key: T frames of a chunk, S speakers within a chunk (places), Q pieces of a chunk, K speakers of the
recording, R frames that become final together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from auricle.speech.diarization_windows import Decision, Geometry


@dataclass(frozen=True)
class Frames:
    """Final frames, one after another."""

    active: np.ndarray  # (R, K) bool
    confidence: np.ndarray  # (R, K) float32


@dataclass(frozen=True)
class Span:
    """A stretch in which one speaker talks; `confidence` is the mean of its frames'."""

    speaker: int
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Choice:
    """How many speakers a frame may have."""

    sets: np.ndarray  # (P, S) which places of a chunk each set holds
    n_speakers: int  # of the recording
    most: int | None  # at a time; None: as many as there are


def lay_over(
    decisions: Iterable[Decision],
    speakers: np.ndarray,
    certainty: np.ndarray,
    choice: Choice,
    geometry: Geometry,
    n_chunks: int,
) -> Iterator[Frames]:
    """Give the frames of a recording as they become final, by what all chunks over them say.

    `speakers` (Q of all chunks,) is the speaker of each piece, `certainty` how sure that is. Where more talk than there
    are speakers, further ones are made.
    """
    n_columns = max(choice.n_speakers, int(choice.sets.sum(1).max()))
    layers = _Layers(n_columns, geometry.n_frames)
    first_piece = 0
    for chunk, decision in enumerate(decisions):
        layers.drop_before(geometry.first_frame(chunk))
        yield from layers.take(choice)
        places = choice.sets[decision.sets]  # (T, S)
        said = np.zeros((geometry.n_frames, n_columns), np.float32)
        sure = np.zeros_like(said)
        for number, (place, start, end) in enumerate(decision.pieces.tolist(), first_piece):
            speaker, part = int(speakers[number]), slice(start, end)
            talks = places[part, place]
            said[part, speaker] = np.maximum(said[part, speaker], talks)
            felt = talks * decision.probabilities[part] * np.float32(certainty[number])
            sure[part, speaker] = np.maximum(sure[part, speaker], felt)
        first_piece += len(decision.pieces)
        layers.add(geometry.first_frame(chunk), said, sure, places.sum(1))
    layers.drop_before(geometry.total_frames(n_chunks))
    yield from layers.take(choice)


class _Layers:
    """Sums of what chunks say of the frames that are not final yet."""

    def __init__(self, n_columns: int, n_frames: int) -> None:
        self.first = 0
        self.said = np.zeros((n_frames, n_columns), np.float32)
        self.sure = np.zeros((n_frames, n_columns), np.float32)
        self.counts = np.zeros((n_frames, 2), np.float32)  # speakers, and chunks that say so
        self.final: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def drop_before(self, frame: int) -> None:
        """Take the frames before `frame` as final."""
        n_final = frame - self.first
        if n_final <= 0:
            return
        parts = []
        for name in ("said", "sure", "counts"):
            sums = getattr(self, name)
            missing = max(0, n_final - len(sums))  # no chunk reaches the last frame of all
            parts.append(np.pad(sums[:n_final], ((0, missing), (0, 0))))
            rest = np.zeros_like(sums)
            rest[: len(sums) - min(n_final, len(sums))] = sums[n_final:]
            setattr(self, name, rest)
        self.final.append((parts[0], parts[1], parts[2]))
        self.first = frame

    def add(self, frame: int, said: np.ndarray, sure: np.ndarray, counts: np.ndarray) -> None:
        """Lay a chunk that begins at `frame`, which is the first that is not final."""
        assert frame == self.first
        self.said += said
        self.sure += sure
        self.counts[:, 0] += counts
        self.counts[:, 1] += 1

    def take(self, choice: Choice) -> Iterator[Frames]:
        """Give what is final, and forget it."""
        for said, sure, counts in self.final:
            n_over = np.maximum(counts[:, 1], 1e-12)
            n_talking = np.rint(counts[:, 0] / n_over).astype(int)  # (R,)
            if choice.most is not None:
                n_talking = np.minimum(n_talking, choice.most)
            order = np.argsort(-said, axis=1, kind="stable")
            active = np.zeros(said.shape, bool)
            np.put_along_axis(active, order, np.arange(said.shape[1]) < n_talking[:, None], axis=1)
            yield Frames(active, sure / n_over[:, None])
        self.final = []


def turns_of(frames: Iterable[Frames], geometry: Geometry, duration: float) -> list[Span]:
    """Return the stretches in which each speaker is active, from the middle of the first to that of the next frame."""
    open_at: dict[int, int] = {}
    sums: dict[int, float] = {}
    found: list[Span] = []
    n_frames = 0

    def close(speaker: int, end: int) -> None:
        start = open_at.pop(speaker)
        mean = sums.pop(speaker) / max(1, end - start)
        times = geometry.time(start), min(geometry.time(end), duration)
        if times[0] < times[1]:
            found.append(Span(speaker, *times, min(1.0, mean)))

    for piece in frames:
        active, length = piece.active, len(piece.active)
        for speaker in np.flatnonzero(active.any(0) | np.isin(np.arange(active.shape[1]), list(open_at))).tolist():
            row = np.concatenate([[speaker in open_at], active[:, speaker]])
            changes = np.flatnonzero(row[1:] != row[:-1]).tolist()
            place = 0
            for change in [*changes, length]:
                if speaker in open_at:
                    sums[speaker] += float(piece.confidence[place:change, speaker].sum())
                if change == length:
                    break
                if speaker in open_at:
                    close(speaker, n_frames + change)
                else:
                    open_at[speaker], sums[speaker] = n_frames + change, 0.0
                place = change
        n_frames += length
    for speaker in list(open_at):
        close(speaker, n_frames - 1)  # a frame has no length: the last one ends where it is
    return sorted(found, key=lambda one: (one.start, one.end, one.speaker))


def fill_and_drop(stretches: list[Span], min_off: float, min_on: float) -> list[Span]:
    """Join stretches of a speaker whose pause is shorter than `min_off`, then leave out those shorter than `min_on`."""
    latest: dict[int, Span] = {}
    found: list[Span] = []
    for stretch in stretches:
        before = latest.get(stretch.speaker)
        if min_off > 0 and before is not None and stretch.start - before.end < min_off:
            lengths = before.end - before.start, stretch.end - stretch.start
            mean = (before.confidence * lengths[0] + stretch.confidence * lengths[1]) / sum(lengths)
            latest[stretch.speaker] = Span(stretch.speaker, before.start, stretch.end, mean)
        else:
            if before is not None:
                found.append(before)
            latest[stretch.speaker] = stretch
    found += latest.values()
    kept = [one for one in found if one.end - one.start >= min_on]
    return sorted(kept, key=lambda one: (one.start, one.end, one.speaker))
