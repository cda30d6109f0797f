"""Sequences for a Whisper: times of segments, windows of several clips, what is learned of each."""

from __future__ import annotations

import pytest
import torch

from auricle.errors import OptionError
from auricle.speech.whisper_tokens import WhisperTokens
from auricle.text.tokenizer import N_TIMESTAMPS
from auricle.training.whisper_labels import (
    IGNORED,
    Drawing,
    draw_windows,
    history,
    segments_of,
    sequence,
    shifted,
    timed_labels,
    word_times,
)

BEGIN = 1000
TOKENS = WhisperTokens(
    eos=90, start=91, previous=92, no_speech=93, no_timestamps=999, timestamp_begin=BEGIN, multilingual=True,
    languages={"en": 95}, tasks={"transcribe": 96}, language=None, task=None, suppressed=(), blank=(), control=(),
)  # fmt: skip
START = [91, 95, 96]


def letters(text: str) -> list[int]:
    return [ord(letter) - ord("a") + 1 for letter in text if letter.isalpha()]


def test_words_with_times_are_cut_at_sentences_and_pauses() -> None:
    times = [(0.1, 0.5), (0.6, 1.0), (1.1, 1.4), (2.5, 3.0)]
    assert segments_of("Yes. it is so", times, (0.0, 9.0)) == [
        ("Yes.", 0.1, 0.5),
        ("it is", 0.6, 1.4),
        ("so", 2.5, 3.0),
    ]


def test_text_without_times_is_one_segment_where_the_voice_is() -> None:
    assert segments_of(" a  b. c", None, (0.3, 1.9)) == [("a b. c", 0.3, 1.9)]


@pytest.mark.parametrize(
    "given",
    [
        [[0.0, 0.5], [0.5, 1.0]],
        [["a", 0.0, 0.5], ["b", 0.5, 1.0]],
        [{"word": "a", "start": 0.0, "end": 0.5}, {"word": "b", "start": 0.5, "end": 1.0}],
    ],
)
def test_times_of_words_are_read_in_every_form(given: object) -> None:
    assert word_times({"word_times": given}, 2) == [(0.0, 0.5), (0.5, 1.0)]


@pytest.mark.parametrize(
    "given", [None, "ab", [[0.0, 0.5]], [[0.5, 0.4], [0.5, 1.0]], [[0.6, 0.9], [0.1, 1.0]], [["a", "b"], [1, 2]]]
)
def test_times_that_cannot_be_of_these_words_are_not_used(given: object) -> None:
    assert word_times({"word_times": given}, 2) is None


def test_timestamps_stand_around_text_in_steps_of_20_ms_within_the_clip() -> None:
    labels = timed_labels([("ab", 0.1, 0.5), ("c", 0.49, 2.0)], 60, letters, BEGIN)
    assert labels == [BEGIN + 5, 1, 2, BEGIN + 25, BEGIN + 25, 3, BEGIN + 60]


def test_a_faster_clip_later_in_a_window_has_its_times_there() -> None:
    assert shifted([BEGIN + 10, 1, BEGIN + 30], BEGIN, 100, speed=2.0) == [BEGIN + 105, 1, BEGIN + 115]


def test_tokens_behind_the_timestamps_are_text() -> None:
    added = BEGIN + N_TIMESTAMPS
    labels = [BEGIN + 5, 1, added, 2, BEGIN + 25]
    assert shifted(labels, BEGIN, 100) == [BEGIN + 105, 1, added, 2, BEGIN + 125]
    assert history(labels, BEGIN, 9) == [1, added, 2]
    assert sequence(TOKENS, START, labels, timed=False)[1][-4:] == [1, added, 2, TOKENS.eos]


def test_windows_hold_every_clip_once_without_overlap() -> None:
    sizes = [(200 + 37 * place, 5 + place) for place in range(20)]
    generator = torch.Generator().manual_seed(4)
    windows = draw_windows(sizes, ["en"] * 20, (1500, 60), Drawing(joined=0.9), generator)
    assert sorted(piece.place for window in windows for piece in window) == list(range(20))
    assert max(map(len, windows)) > 1
    for window in windows:
        end = 0
        for piece in window:
            assert piece.first >= end
            end = piece.first + sizes[piece.place][0]
        assert end <= 1500
        assert sum(sizes[piece.place][1] for piece in window) <= 60


def test_a_window_is_of_one_language() -> None:
    languages = ["en", "de", "en", "de", "de", "en"]
    windows = draw_windows([(10, 2)] * 6, languages, (1500, 60), Drawing(joined=1.0), torch.Generator().manual_seed(4))
    assert list(map(len, windows)) == [3, 3]
    assert all(len({languages[piece.place] for piece in window}) == 1 for window in windows)


def test_the_longest_clip_fits_its_window_whatever_gap_is_drawn() -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        [[piece]] = draw_windows([(1490, 4)], [None], (1500, 60), Drawing(), generator)
        assert piece.first + 1490 <= 1500


def test_a_timed_sequence_learns_everything_after_the_start() -> None:
    labels = [BEGIN, 1, 2, BEGIN + 9]
    inputs, targets = sequence(TOKENS, START, labels, timed=True)
    assert inputs == [*START, *labels]
    assert targets == [*START[1:], *labels, TOKENS.eos]


def test_a_plain_sequence_says_so_and_has_no_times() -> None:
    inputs, targets = sequence(TOKENS, START, [BEGIN, 1, 2, BEGIN + 9, BEGIN + 9, 3, BEGIN + 12], timed=False)
    assert inputs == [*START, TOKENS.no_timestamps, 1, 2, 3]
    assert targets == [*START[1:], TOKENS.no_timestamps, 1, 2, 3, TOKENS.eos]


def test_nothing_is_learned_of_what_was_said_before() -> None:
    before = history([BEGIN, 7, 8, 9, BEGIN + 3], BEGIN, 2)
    assert before == [8, 9]
    inputs, targets = sequence(TOKENS, START, [1], timed=False, before=before)
    assert inputs[:4] == [TOKENS.previous, 8, 9, TOKENS.start]
    assert targets[:4] == [IGNORED, IGNORED, IGNORED, START[1]]


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(OptionError, match=r"timed is 1\.5"):
        Drawing(timed=1.5)
