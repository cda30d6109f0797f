"""Cutting and merging: every frame of a recording is kept once, whatever the blocks and the plan."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from auricle.errors import OptionError
from auricle.speech.windows import Window, WindowPlan, cut, kept_frames, plan_windows

RATE = 16000


def in_blocks(samples: np.ndarray, rng: random.Random, longest: int) -> Iterator[np.ndarray]:
    place = 0
    while place < len(samples):
        length = rng.randint(0, longest)
        yield samples[place : place + length]
        place += length


def wav2vec2_frames(n_samples: int) -> int:
    return max(0, (n_samples - 400) // 320 + 1)


def parakeet_frames(n_samples: int) -> int:
    return -(-(n_samples // 160 + 1) // 8)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize(("n_frames_of", "per_frame"), [(wav2vec2_frames, 320), (parakeet_frames, 1280)])
def test_kept_frames_are_those_of_the_whole_recording(seed, n_frames_of, per_frame) -> None:
    rng = random.Random(seed)
    left, right = rng.randint(1, 5) * per_frame, rng.randint(1, 5) * per_frame
    length = left + right + rng.randint(1, 20) * per_frame
    plan = WindowPlan(length, left, right, whole=rng.choice([length, 2 * length]), samples_per_frame=per_frame)
    samples = np.arange(rng.randint(0, 6 * length), dtype=np.float32)
    windows = list(cut(in_blocks(samples, rng, longest=2 * length), plan))
    kept = []
    for window in windows:
        assert window.start % per_frame == 0
        np.testing.assert_array_equal(window.samples, samples[window.start :][: len(window.samples)])
        frames = range(n_frames_of(len(window.samples)))
        kept += [window.start // per_frame + frame for frame in frames[kept_frames(window, len(frames))]]
    assert kept == list(range(n_frames_of(len(samples))))


def test_windows_and_overlaps_have_the_planned_lengths() -> None:
    plan = WindowPlan(length=100, left=20, right=10, whole=100, samples_per_frame=10)
    windows = list(cut([np.zeros(240, dtype=np.float32)], plan))
    assert [(window.start, len(window.samples)) for window in windows] == [(0, 100), (70, 100), (140, 100)]
    assert [(window.first_kept, window.end_kept) for window in windows] == [(0, 9), (2, 9), (2, None)]


def test_a_recording_of_exactly_one_window_is_one_window() -> None:
    plan = WindowPlan(length=100, left=20, right=10, whole=100, samples_per_frame=10)
    assert len(list(cut([np.zeros(100, dtype=np.float32)], plan))) == 1
    assert len(list(cut([np.zeros(100, dtype=np.float32), np.zeros(1, dtype=np.float32)], plan))) == 2


def test_short_recordings_are_whole_and_empty_ones_one_empty_window() -> None:
    plan = plan_windows(0, None, RATE, 320)
    windows = list(cut([np.zeros(39 * RATE, dtype=np.float32)], plan))
    assert [len(window.samples) for window in windows] == [39 * RATE]
    assert [len(window.samples) for window in cut([], plan)] == [0]
    assert len(next(iter(cut([np.zeros(41 * RATE, dtype=np.float32)], plan))).samples) == 30 * RATE


def test_at_most_a_window_and_a_block_are_held() -> None:
    plan = WindowPlan(length=1000, left=100, right=100, whole=1000, samples_per_frame=100)
    taken = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal taken
        for _ in range(1000):
            taken += 50
            yield np.zeros(50, dtype=np.float32)

    for window in cut(blocks(), plan):
        assert taken - window.start <= 1000 + 50


def test_seconds_become_whole_frames_and_default_strides() -> None:
    assert plan_windows(0, None, RATE, 320) == WindowPlan(30 * RATE, 40000, 40000, 40 * RATE, 320)
    assert plan_windows(12, None, RATE, 320) == WindowPlan(12 * RATE, 2 * RATE, 2 * RATE, 12 * RATE, 320)
    assert plan_windows(10, (4, 2), RATE, 1280) == WindowPlan(125 * 1280, 50 * 1280, 25 * 1280, 125 * 1280, 1280)
    assert plan_windows(0.05, 0.001, RATE, 320) == WindowPlan(960, 320, 320, 960, 320)


@pytest.mark.parametrize(
    ("chunk", "stride", "message"),
    [
        (10, 5, "leaves nothing of windows of 10 s"),
        (10, (4, 7), "leaves nothing"),
        (0, 15, "leaves nothing of windows of 30 s"),
        (10, 0, "shorter than one frame of 0.02 s"),
        (10, (0, 3), "shorter than one frame"),
    ],
)
def test_strides_that_cannot_work_are_refused(chunk: float, stride: float | tuple[float, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        plan_windows(chunk, stride, RATE, 320)


def test_a_model_that_looks_further_than_the_stride_is_refused() -> None:
    window = Window(np.zeros(3200, dtype=np.float32), 0, 0, 9)
    with pytest.raises(OptionError, match="gave 8 frames, but 9"):
        kept_frames(window, 8)
