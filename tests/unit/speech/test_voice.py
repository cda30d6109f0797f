"""Regions of voice, with answers built by hand: at 12500 samples a second a frame is 400 samples."""

from __future__ import annotations

import random

import pytest

from auricle.errors import OptionError
from auricle.speech.voice import Region, RegionFinder, VoiceOptions, regions

RATE, FRAME = 12500, 400
BARE = VoiceOptions(min_speech_s=0.0, min_silence_s=0.128, pad_s=0.0)  # a silence of 4 frames ends a region


def found(probabilities: list[float], options: VoiceOptions = BARE, n_frames: int | None = None) -> list[tuple]:
    n_samples = (len(probabilities) if n_frames is None else n_frames) * FRAME
    return [(one.start / FRAME, one.end / FRAME) for one in regions(probabilities, options, RATE, n_samples)]


def test_a_region_begins_at_the_threshold_and_ends_below_the_lower_one() -> None:
    assert found([0.1, 0.4, 0.8, 0.4, 0.4, 0.36, 0.3, 0.1, 0.1, 0.1, 0.1]) == [(2, 6)]
    assert found([0.49] * 9) == []


def test_a_short_silence_ends_nothing() -> None:
    assert found([0.9, 0, 0, 0, 0.9, 0, 0, 0, 0, 0.9]) == [(0, 5), (9, 10)]


def test_what_is_neither_voice_nor_silence_does_not_undo_a_silence() -> None:
    assert found([0.9, 0.1, 0.4, 0.4, 0.1, 0.9, 0, 0, 0, 0]) == [(0, 1), (5, 6)]


def test_pads_stay_inside_the_recording() -> None:
    padded = VoiceOptions(min_speech_s=0.0, min_silence_s=0.128, pad_s=0.064)
    assert found([0, 0.9, 0, 0, 0, 0, 0, 0.9], padded) == [(0, 4), (5, 8)]


def test_regions_that_would_touch_when_padded_are_one() -> None:
    padded = VoiceOptions(min_speech_s=0.0, min_silence_s=0.032, pad_s=0.064)
    assert found([0, 0, 0.9, 0, 0, 0, 0.9, 0, 0, 0], padded) == [(0, 9)]
    assert found([0, 0, 0.9, 0, 0, 0, 0, 0.9, 0, 0], padded) == [(0, 5), (5, 10)]


def test_what_is_shorter_than_speech_is_no_region() -> None:
    patient = VoiceOptions(min_speech_s=0.09, min_silence_s=0.128, pad_s=0.0)
    assert found([0.9, 0.9, 0, 0, 0, 0, 0.9, 0.9, 0.9, 0, 0, 0, 0], patient) == [(6, 9)]


def test_what_is_weak_must_last_to_be_voice() -> None:
    assert found([0.6] * 31 + [0.0] * 9 + [0.6] * 32) == [(40, 72)]
    assert found([0.4] * 5, VoiceOptions(threshold=0.3, min_speech_s=0.0, pad_s=0.0)) == []
    assert found([0.5] * 5, VoiceOptions(threshold=0.3, min_speech_s=0.0, pad_s=0.0)) == [(0, 5)]


def test_a_long_region_is_cut_where_it_has_least_voice_in_its_last_third() -> None:
    options = VoiceOptions(min_speech_s=0.0, min_silence_s=0.128, pad_s=0.0, longest_s=30 * 0.032 * 2)
    probabilities = [0.9] * 100
    probabilities[10] = 0.4  # not in the last third
    probabilities[50] = 0.5
    assert found(probabilities, options) == [(0, 50.5), (50.5, 100)]


def test_a_cut_in_silence_leaves_the_silence_out_of_the_rest() -> None:
    options = VoiceOptions(min_speech_s=0.0, min_silence_s=0.32, pad_s=0.0, longest_s=60 * 0.032)
    probabilities = [0.9] * 52 + [0.0] * 30 + [0.9] * 5
    assert found(probabilities, options) == [(0, 52), (82, 87)]
    probabilities = [0.9] * 52 + [0.0] * 9 + [0.9] * 5
    (_, cut), (start, end) = found(probabilities, options)
    assert cut == start
    assert 52 < cut < 61
    assert end == 66


def test_regions_know_their_highest_probability() -> None:
    assert [one.peak for one in regions([0.7, 0.8, 0, 0, 0, 0, 0.9], BARE, RATE, 7 * FRAME)] == [0.8, 0.9]


@pytest.mark.parametrize("seed", range(30))
def test_regions_are_in_order_short_enough_and_settled_when_they_come(seed: int) -> None:
    rng = random.Random(seed)
    options = VoiceOptions(
        min_speech_s=rng.choice([0, 0.1]), min_silence_s=rng.choice([0.032, 0.4]), pad_s=0.2, longest_s=4
    )
    probabilities: list[float] = []
    while len(probabilities) < 2000:
        probabilities += [rng.random() ** rng.choice([0.2, 1, 5]) for _ in range(rng.randint(1, 200))]
    finder, given, settled = RegionFinder(options, RATE), [], 0
    for probability in probabilities:
        for region in finder([probability]):
            assert region.start >= settled
            given.append(region)
        assert finder.settled >= settled
        settled = finder.settled
    n_samples = len(probabilities) * FRAME
    given += finder.end(n_samples)
    assert tuple(given) == regions(probabilities, options, RATE, n_samples)
    ends = [0, *(region.end for region in given)]
    assert all(end <= region.start < region.end <= n_samples for end, region in zip(ends, given, strict=False))
    assert all(region.end - region.start <= 4 * RATE for region in given)


def test_the_frames_of_any_rate_are_those_of_the_detector() -> None:
    assert regions([0.0] * 1000 + [0.9] * 500, BARE, 44100, 1500 * 44100 * 4 // 125) == (
        Region(32 * 44100, 48 * 44100),
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"threshold": 1.5}, "vad_threshold=1.5"),
        ({"threshold": 0.3, "negative_threshold": 0.5}, "negative_threshold=0.5"),
        ({"threshold": "high"}, "vad_threshold='high'"),
        ({"min_silence_s": 0}, "min_silence_s=0; expected at least 0.032"),
        ({"pad_s": 10.0}, "speech_pad_s=10.0"),
        ({"pad_s": True}, "speech_pad_s=True"),
        ({"longest_s": 0.5}, "chunk_length_s=0.5"),
        ({"min_speech_s": float("nan")}, "min_speech_s=nan"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(given: dict, named: str) -> None:
    with pytest.raises(OptionError, match=named):
        VoiceOptions(**given)
