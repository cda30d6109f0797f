"""Stretches and gaps: an exact cover, the same however the samples arrive, in flat memory."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from auricle.audio.decode import open_audio
from auricle.results import Warning
from auricle.speech.stretches import (
    Gap,
    Stretch,
    longer_than,
    quiet_stretches,
    skipped,
    stretches,
    voice_regions,
)
from auricle.speech.voice import Region, VoiceOptions

RATE = 16000
FRAME = 512
ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "samples" / "librispeech-1320-122612-0008.ogg"
SPEECH = ROOT.parent / "shared" / "speech"


class LoudIsVoice:
    """A detector that takes every frame with a sample above 0.1 for voice."""

    def __init__(self, sample_rate: int) -> None:
        self.held = np.zeros(0, np.float32)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        self.held = np.concatenate((self.held, samples))
        n_frames = len(self.held) // FRAME
        frames, self.held = self.held[: n_frames * FRAME], self.held[n_frames * FRAME :]
        return np.where(np.abs(frames.reshape(-1, FRAME)).max(axis=1) > 0.1, 0.9, 0.0)

    def end(self) -> np.ndarray:
        return np.array([0.9 if np.abs(self.held).max() > 0.1 else 0.0]) if len(self.held) else np.zeros(0)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.speech.stretches.VoiceProbabilities", LoudIsVoice)


def sound(*parts: tuple[float, float]) -> np.ndarray:
    """(level, seconds) after (level, seconds)."""
    return np.concatenate([np.full(round(seconds * RATE), level, np.float32) for level, seconds in parts])


def in_blocks(samples: np.ndarray, rng: random.Random, longest: int = 60_000) -> Iterator[np.ndarray]:
    start = 0
    while start < len(samples):
        length = rng.randint(0, longest)
        yield samples[start : start + length]
        start += length


def told(parts: Iterable[Stretch | Gap]) -> list[tuple]:
    return [(type(one).__name__, one.start, one.end, getattr(one, "regions", ())) for one in parts]


def seconds(parts: Iterable[Stretch | Gap]) -> list[tuple[str, float, float]]:
    return [(type(one).__name__, round(one.start / RATE, 1), round(one.end / RATE, 1)) for one in parts]


def assert_covers(parts: Iterable[Stretch | Gap], samples: np.ndarray, longest: float = 30.0) -> None:
    end = 0
    for one in parts:
        assert one.start == end < one.end
        end = one.end
        if isinstance(one, Stretch):
            np.testing.assert_array_equal(one.samples, samples[one.start : one.end])
            assert len(one.samples) <= longest * RATE
            assert one.regions[0].start == one.start
            assert one.regions[-1].end == one.end
    assert end == len(samples)


@pytest.mark.usefixtures("built")
def test_regions_close_together_share_a_stretch_and_long_pauses_divide() -> None:
    samples = sound((0, 10), (0.5, 5), (0, 3), (0.5, 5), (0, 9), (0.5, 2), (0, 2))
    parts = list(stretches([samples], RATE, VoiceOptions()))
    assert seconds(parts) == [
        ("Gap", 0.0, 9.8),
        ("Stretch", 9.8, 23.2),
        ("Gap", 23.2, 31.8),
        ("Stretch", 31.8, 34.2),
        ("Gap", 34.2, 36.0),
    ]
    assert len(parts[1].regions) == 2
    assert_covers(parts, samples)


@pytest.mark.usefixtures("built")
def test_a_full_stretch_ends_in_its_widest_late_pause() -> None:
    samples = sound((0.5, 10), (0, 3), (0.5, 9), (0, 2), (0.5, 3), (0, 1), (0.5, 9))
    assert seconds(stretches([samples], RATE, VoiceOptions())) == [
        ("Stretch", 0.0, 22.2),
        ("Gap", 22.2, 23.8),
        ("Stretch", 23.8, 37.0),
    ]


@pytest.mark.usefixtures("built")
def test_voice_without_pause_is_cut_and_nothing_lost() -> None:
    samples = sound((0.5, 100))
    parts = list(stretches([samples], RATE, VoiceOptions(longest_s=20)))
    assert all(isinstance(one, Stretch) for one in parts)
    assert_covers(parts, samples, 20)
    assert len(parts) <= 8


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("seed", range(20))
def test_any_recording_is_covered_once_however_its_samples_arrive(seed: int) -> None:
    rng = random.Random(seed)
    parts = [(rng.choice([0.0, 0.5]), rng.random() ** 2 * rng.choice([1, 10, 40])) for _ in range(rng.randint(0, 40))]
    samples = sound((0.0, 0.0), *parts)
    samples += np.random.default_rng(seed).normal(scale=0.01, size=len(samples)).astype(np.float32)
    options = VoiceOptions(longest_s=rng.choice([5, 30]), longest_pause_s=rng.choice([0, 4]))
    whole = list(stretches([samples], RATE, options))
    assert_covers(whole, samples, options.longest_s)
    assert told(stretches(in_blocks(samples, rng), RATE, options)) == told(whole)


def test_blocks_of_real_speech_change_nothing() -> None:
    speech = open_audio(SAMPLE, RATE).read()
    samples = np.concatenate([speech, np.zeros(6 * RATE, np.float32), speech, speech, speech])
    options = VoiceOptions(longest_s=12)
    whole = list(stretches([samples], RATE, options))
    assert_covers(whole, samples, 12)
    assert any(isinstance(one, Gap) and one.end - one.start > 5 * RATE for one in whole)
    for seed in range(3):
        assert told(stretches(in_blocks(samples, random.Random(seed)), RATE, options)) == told(whole)


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("voiced", [0.0, 1.0, 0.5])
def test_memory_is_that_of_a_few_stretches(voiced: float) -> None:
    def blocks() -> Iterator[np.ndarray]:
        for second in range(1800):
            level = 0.5 if second % 100 < voiced * 100 else 0.0
            yield np.full(RATE, level, np.float32)

    tracemalloc.start()
    end = 0
    for part in stretches(blocks(), RATE, VoiceOptions()):
        assert part.start == end
        end = part.end
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert end == 1800 * RATE
    # What is held, one stretch that is given out and one that the caller still has, 4 bytes a sample.
    assert peak < 4 * 4 * 32 * RATE


def test_nothing_gives_nothing() -> None:
    assert list(stretches([], RATE, VoiceOptions())) == []
    assert list(stretches([np.zeros(0, np.float32)], RATE, None)) == []


def test_without_detection_stretches_are_cut_where_it_is_quiet() -> None:
    samples = np.random.default_rng(0).normal(scale=0.1, size=70 * RATE).astype(np.float32)
    samples[25 * RATE : 26 * RATE] *= 0.01
    parts = list(stretches(in_blocks(samples, random.Random(1)), RATE, None))
    assert_covers(parts, samples)
    assert 25 * RATE <= parts[0].end <= 26 * RATE
    assert [one.regions for one in parts] == [(Region(one.start, one.end),) for one in parts]
    assert told(quiet_stretches([samples], 30 * RATE, RATE)) == told(parts)


def test_whether_a_recording_is_longer_is_known_by_reading() -> None:
    blocks = [np.full(n, n, np.float32) for n in (5, 0, 3, 4)]
    for limit, wanted in ((11, True), (12, False), (0, True)):
        longer, again = longer_than(iter(blocks), limit)
        assert longer is wanted
        np.testing.assert_array_equal(np.concatenate(list(again)), np.concatenate(blocks))


def test_gaps_of_more_than_a_second_are_told_and_touching_ones_joined() -> None:
    gaps = [Gap(0, RATE), Gap(2 * RATE, 3 * RATE), Gap(3 * RATE, 4 * RATE)]
    (warning,) = skipped(gaps, RATE)
    assert isinstance(warning, Warning)
    assert (warning.kind, warning.start, warning.end) == ("skipped", 2.0, 4.0)


def noises() -> dict[str, np.ndarray]:
    rng, n = np.random.default_rng(0), 40 * RATE
    moment = np.arange(n) / RATE
    spectrum = np.fft.rfft(rng.standard_normal(n))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20)), n)
    clicks = np.zeros(n)
    clicks[rng.integers(0, n, 80)] = 0.9
    chord = sum(np.sin(2 * np.pi * pitch * moment) for pitch in (220, 277.2, 329.6)) * np.exp(-(moment % 0.8) * 2)
    made = {"silence": np.zeros(n), "pink": pink / np.abs(pink).max(), "clicks": clicks, "chords": chord / 4}
    for level in (-10, -30, -60):
        made[f"white {level} dB"] = rng.standard_normal(n) * 10 ** (level / 20) / 4
    made["hum"] = sum(np.sin(2 * np.pi * 50 * k * moment) / k for k in range(1, 8)) / 4
    made["tone"] = 0.5 * np.sin(2 * np.pi * 440 * moment)
    made["faint hiss in 16 bits"] = np.round(rng.standard_normal(n) * 0.7) / 32768
    return made


@pytest.mark.parametrize("kind", noises())
def test_noise_and_tones_have_no_voice(kind: str) -> None:
    samples = noises()[kind].astype(np.float32)
    assert voice_regions(samples, RATE, VoiceOptions()) == ()


@pytest.mark.skipif(not SPEECH.is_dir(), reason="needs the recordings of ../shared/speech")
@pytest.mark.parametrize("decibels", [20, 40])
def test_real_speech_is_found_when_it_is_quiet(decibels: int) -> None:
    paths = sorted((SPEECH / "librispeech_test_clean").glob("*.ogg"))[::200]
    assert paths
    for path in paths:
        samples = open_audio(path, RATE).read()
        covered = [np.zeros(len(samples), bool), np.zeros(len(samples), bool)]
        for marks, gain in zip(covered, (1.0, 10 ** (-decibels / 20)), strict=True):
            for region in voice_regions(samples * np.float32(gain), RATE, VoiceOptions()):
                marks[region.start : region.end] = True
        assert (covered[0] != covered[1]).mean() < 0.03
        assert covered[0].mean() > 0.5
