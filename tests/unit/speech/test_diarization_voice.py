"""Where there is a voice: by hand, however the recording arrives, and in memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from auricle.speech import diarization_voice
from auricle.speech.diarization_voice import Gate, VoiceTrack

RATE, FRAME = 16000, 512
GATE = Gate(0.5, pad_s=2 * 0.032, min_silence_s=4 * 0.032)


class Loudness:
    """A detector that takes the first sample of each 32 ms for its probability of voice."""

    def __init__(self, sample_rate: int) -> None:
        assert sample_rate == RATE
        self.held = np.zeros(0, np.float32)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        self.held = np.concatenate([self.held, samples])
        n_frames = len(self.held) // FRAME
        found, self.held = self.held[: n_frames * FRAME : FRAME].copy(), self.held[n_frames * FRAME :]
        return found

    def end(self) -> np.ndarray:
        return self.held[:1]


@pytest.fixture(autouse=True)
def loudness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diarization_voice, "VoiceProbabilities", Loudness)


def blocks(probabilities: np.ndarray, size: int = 700) -> Iterator[np.ndarray]:
    samples = np.repeat(probabilities, FRAME).astype(np.float32)
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def heard(probabilities: np.ndarray, gate: Gate, size: int = 700) -> list[int]:
    """The frames with voice, asked at their middles after all was heard."""
    track = VoiceTrack(RATE, gate)
    for _ in track.hear(blocks(probabilities, size)):
        pass
    return np.flatnonzero(track.at(FRAME * np.arange(len(probabilities)) + FRAME // 2)).tolist()


def frames(n_frames: int, *voiced: int) -> np.ndarray:
    found = np.full(n_frames, 0.4)
    found[list(voiced)] = 0.5
    return found


def test_voice_is_where_the_probability_reaches_the_threshold() -> None:
    assert heard(frames(10, 3, 4, 8), Gate(0.5)) == [3, 4, 8]


def test_voice_is_widened_on_both_sides_and_at_the_ends() -> None:
    assert heard(frames(20, 10), GATE) == [8, 9, 10, 11, 12]
    assert heard(frames(20, 0, 19), GATE) == [0, 1, 2, 17, 18, 19]


def test_short_pauses_are_filled_and_longer_ones_are_not() -> None:
    # Of 8 frames without voice 2 are left on each side, and a pause of 4 is filled; of 9 it is 5.
    assert heard(frames(40, 10, 19), GATE) == list(range(8, 22))
    assert heard(frames(40, 10, 20), GATE) == [*range(8, 13), *range(18, 23)]


@pytest.mark.parametrize("size", [1, 511, 512, 5000, 10**6])
def test_what_is_given_is_settled_however_blocks_arrive(size: int) -> None:
    probabilities = np.random.default_rng(0).random(60)
    whole = heard(probabilities, GATE)
    track, n_samples, found = VoiceTrack(RATE, GATE), 0, set()
    for block in track.hear(blocks(probabilities, size)):
        places = np.arange(n_samples, n_samples + len(block))
        found |= set(np.flatnonzero(np.bincount(places // FRAME, track.at(places)))) if len(block) else set()
        n_samples += len(block)
    assert n_samples == 60 * FRAME
    assert sorted(found) == whole


def test_blocks_are_held_back_for_tenths_of_a_second_only() -> None:
    track, n_given, n_taken = VoiceTrack(RATE, GATE), 0, 0

    def taken() -> Iterator[np.ndarray]:
        nonlocal n_taken
        for block in blocks(np.zeros(300), FRAME):
            n_taken += len(block)
            yield block

    for block in track.hear(taken()):
        n_given += len(block)
        assert n_taken - n_given <= 0.3 * RATE


def test_memory_does_not_grow_where_what_is_past_is_forgotten() -> None:
    track, n_samples = VoiceTrack(RATE, GATE), 0
    for block in track.hear(blocks(np.tile(frames(10, 3), 1000), RATE)):
        n_samples += len(block)
        before = track.at(np.arange(n_samples - len(block), n_samples, 100))
        track.forget(n_samples - len(block))
        assert np.array_equal(track.at(np.arange(n_samples - len(block), n_samples, 100)), before)
        assert len(track._loud) < 100


def test_a_stretch_has_voice_where_any_of_it_has() -> None:
    track = VoiceTrack(RATE, Gate(0.5))
    list(track.hear(blocks(frames(100, 50))))
    assert track.has_voice(0, 50 * FRAME)
    assert not track.has_voice(0, 50 * FRAME - 1)
    assert not track.has_voice(51 * FRAME, 99 * FRAME)
    assert track.has_voice(51 * FRAME - 1, 99 * FRAME)
