"""Windows hold what their labels say, where they say it."""

from __future__ import annotations

import numpy as np
import pytest
from whisper_toy import clip

from auricle.training.whisper_clips import SAMPLE_RATE, Clip
from auricle.training.whisper_windows import (
    WINDOW_SECONDS,
    Mixture,
    Part,
    Plan,
    plan_windows,
    silence,
    sound,
    speed_up,
)

FIVE = clip("one two three", (0.5, 1.0), (1.5, 2.0), (3.0, 4.0), duration=5.0)


def sentences(n: int) -> list[Clip]:
    """Clips of 5 to 16 s whose words, one a second, occur nowhere else."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(n):
        seconds = int(rng.integers(5, 17))
        words = tuple(f"w{index}-{at}" for at in range(seconds - 1))
        times = tuple((at + 0.3, at + 0.9) for at in range(seconds - 1))
        made.append(Clip(f"{index}.wav", words, times, "toy", f"speaker{index % 3}", float(seconds)))
    return made


def test_a_part_says_only_the_words_that_lie_wholly_in_it() -> None:
    spoken = Part(FIVE, 1.2, 3.5, at=10.0).spoken()
    assert spoken.words == ("two",)
    assert spoken.times[0] == pytest.approx((10.3, 10.8))
    assert spoken.is_cut


def test_a_part_to_the_last_word_is_not_cut() -> None:
    assert not Part(FIVE, 0.0, 4.0, at=0.0).is_cut


@pytest.mark.parametrize("seed", range(5))
def test_every_word_is_said_and_none_twice_in_a_window(seed: int) -> None:
    clips = sentences(40)
    plans = plan_windows(clips, Mixture(), np.random.default_rng(seed))
    said = [[word for part in plan.parts for word in part.spoken().words] for plan in plans]
    assert {word for words in said for word in words} == {word for one in clips for word in one.words}
    assert all(len(words) == len(set(words)) for words in said)


@pytest.mark.parametrize("seed", range(5))
def test_parts_follow_each_other_within_thirty_seconds(seed: int) -> None:
    for plan in plan_windows(sentences(40), Mixture(), np.random.default_rng(seed)):
        ends = [part.at + part.end - part.start for part in plan.parts]
        assert all(0 <= part.start < part.end <= part.clip.duration for part in plan.parts)
        assert all(end <= part.at for end, part in zip(ends, plan.parts[1:], strict=False))
        assert max([*ends, 0.0]) <= WINDOW_SECONDS + 1e-9
        assert not any(part.is_cut for part in plan.parts[:-1])


def test_history_is_what_was_said_just_before() -> None:
    plans = plan_windows(sentences(30), Mixture(silent=0.0), np.random.default_rng(1))
    followed = 0
    for plan in plans:
        first = plan.parts[0].spoken().words
        if plan.history and plan.parts[0].start == 0.0 and first:
            sentence = int(first[0][1:].split("-")[0])
            followed += plan.history[-1].startswith("w")
            assert plan.history[-1] not in first
            assert not plan.history[-1].startswith(f"w{sentence}-")
    assert followed > 5


@pytest.mark.parametrize("speed", [1.0, 1.25])
def test_sound_is_where_the_label_says(speed: float) -> None:
    waveform = np.zeros(5 * SAMPLE_RATE, np.float32)
    for word in (0, 2):  # a click in the middle of two words
        waveform[round(sum(FIVE.times[word]) / 2 * SAMPLE_RATE)] = 1.0
    plan = Plan((Part(FIVE, 0.0, 5.0, at=1.0), Part(FIVE, 0.2, 5.0, at=8.0)), seconds=13.0)
    made = speed_up(plan, speed)
    heard = sound(made, lambda _: waveform, [], False, speed, np.random.default_rng(0))
    assert len(heard) == pytest.approx(13.0 / speed * SAMPLE_RATE, abs=1)
    for part in made.parts:
        spoken = part.spoken()
        for word in (0, 2):
            start, end = (round(seconds * SAMPLE_RATE) for seconds in spoken.times[word])
            peak = start + int(np.abs(heard[start:end]).argmax())
            assert abs(heard[peak]) > 0.1
            assert peak == pytest.approx((start + end) / 2, abs=40)


def test_silence_is_of_the_length_asked_for_and_finite() -> None:
    rng = np.random.default_rng(2)
    noise = np.sin(np.arange(9000)).astype("f4")
    for _ in range(40):
        made = silence(1.5, [noise], rng)
        assert made.shape == (24000,)
        assert made.dtype == np.float32
        assert np.isfinite(made).all()
        assert np.abs(made).max() <= 1
