"""Clipping: what is cut off at the top is told, what is only loud is not."""

from __future__ import annotations

import random

import numpy as np
import pytest

from auricle.speech import clipping
from auricle.speech.clipping import ClippingDetector

RATE = 16000


def speechlike(n_seconds: float, peak: float, seed: int = 0) -> np.ndarray:
    """Bursts of a voice-like sound in 16 bits."""
    moment = np.arange(round(n_seconds * RATE)) / RATE
    rng = np.random.default_rng(seed)
    wave = sum(np.sin(2 * np.pi * 130 * k * moment + rng.uniform(0, 6)) / k for k in range(1, 12))
    wave *= np.sin(2 * np.pi * 1.7 * moment) ** 2
    return (np.round(wave / np.abs(wave).max() * peak * 32767) / 32768).astype(np.float32)


def spans(samples: np.ndarray, seed: int | None = None) -> list[tuple[float, float]]:
    detector, start = ClippingDetector(RATE), 0
    rng = random.Random(seed)
    while start < len(samples):
        length = len(samples) if seed is None else rng.randint(0, 3000)
        detector(samples[start : start + length])
        start += length
    found = detector.warnings()
    assert all(one.kind == "clipped" for one in found)
    return [(one.start, one.end) for one in found]


def test_runs_at_full_scale_are_told_with_their_place() -> None:
    samples = np.zeros(5 * RATE, np.float32)
    samples[RATE : RATE + 3] = 1.0
    samples[RATE + 8000 : RATE + 8005] = -1.0  # half a second later: the same span
    samples[4 * RATE : 4 * RATE + 2] = 1.0  # two samples are chance
    assert spans(samples) == [(1.0, 1.5 + 5 / RATE)]


def test_spans_a_second_apart_are_two() -> None:
    samples = np.zeros(5 * RATE, np.float32)
    for second in (1, 3):
        samples[second * RATE : second * RATE + 4] = 32767 / 32768
    assert spans(samples) == [(1.0, 1.0 + 4 / RATE), (3.0, 3.0 + 4 / RATE)]


def test_what_is_beyond_full_scale_is_clipped_too() -> None:
    samples = np.zeros(RATE, np.float32)
    samples[100:104] = [1.01, 1.05, 1.04, 1.002]
    assert spans(samples) == [(100 / RATE, 104 / RATE)]


def test_a_run_at_the_end_is_told() -> None:
    samples = np.zeros(RATE, np.float32)
    samples[-5:] = 1.0
    assert spans(samples) == [((RATE - 5) / RATE, 1.0)]


def test_an_overdriven_voice_is_clipped_where_it_is_loud() -> None:
    found = spans(np.clip(speechlike(4.0, 0.99) * 3, -1, 32767 / 32768))
    assert found
    assert found[0][0] < 0.5


def test_an_overdriven_voice_that_was_turned_down_is_flat_at_its_peak() -> None:
    samples = np.round(np.clip(speechlike(4.0, 0.99) * 3, -1, 1) * 0.3 * 32767) / 32768
    assert spans(samples.astype(np.float32))


@pytest.mark.parametrize("peak", [1.0, 0.5, 0.06])
def test_a_voice_that_only_reaches_the_top_is_not_clipped(peak: float) -> None:
    assert spans(speechlike(4.0, peak)) == []


@pytest.mark.parametrize("frequency", [20, 50, 440])
@pytest.mark.parametrize("level", [0.01, 0.1, 0.9])
def test_a_hum_is_not_clipped(frequency: int, level: float) -> None:
    moment = np.arange(4 * RATE) / RATE
    assert spans((np.round(np.sin(2 * np.pi * frequency * moment) * level * 32767) / 32768).astype(np.float32)) == []


def test_silence_of_any_length_is_not_clipped() -> None:
    assert spans(np.zeros(60 * RATE, np.float32)) == []
    assert spans(np.zeros(0, np.float32)) == []


@pytest.mark.parametrize("seed", range(8))
def test_blocks_of_any_length_tell_the_same(seed: int) -> None:
    for samples in (
        np.clip(speechlike(3.0, 0.99) * 2, -1, 1),
        (np.round(np.clip(speechlike(3.0, 0.99) * 2, -1, 1) * 0.2 * 32767) / 32768).astype(np.float32),
        np.repeat(np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], 2000), 7).astype(np.float32),
    ):
        assert spans(samples, seed) == spans(samples)


@pytest.mark.parametrize("steps", [8, 50, 3000])
def test_blocks_without_flat_parts_are_passed_over_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    rng = np.random.default_rng(steps)
    samples = np.round(np.clip(rng.normal(size=4000) * 0.4, -0.7, 0.7) * steps) / steps
    samples[1000:3000] = rng.normal(size=2000) * 0.1  # no value twice
    samples = samples.astype(np.float32)
    found = [spans(samples, seed) for seed in range(20)]
    monkeypatch.setattr(clipping, "LEAST_BLOCK", 1 << 30)

    assert found == [spans(samples, seed) for seed in range(20)]
