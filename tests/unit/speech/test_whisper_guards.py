"""Which segments are not believed, by hand; where words are put when they were stretched over a pause."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from auricle.decoding.generate import Generated
from auricle.results import Segment, Word
from auricle.speech.whisper_guards import (
    Skip,
    hardly_believed,
    is_odd,
    is_voiced,
    looping,
    skip_hallucinations,
    unheard,
    voiced_seconds,
)
from auricle.speech.whisper_languages import LanguageTracker, average, most_probable
from auricle.speech.whisper_options import WhisperOptions
from auricle.speech.whisper_windows import Decoded, is_repetitive, token_ratio
from auricle.speech.whisper_words import snap_words


def segment(start: float, end: float, confidence: float = 0.9, n_words: int = 4) -> Segment:
    step = (end - start) / n_words
    words = tuple(Word(" w", start + at * step, start + (at + 1) * step, confidence) for at in range(n_words))
    return Segment(" w" * n_words, start, end, words)


def odd(start: float, end: float) -> Segment:
    return segment(start, end, confidence=0.1)


def test_a_low_limit_is_of_tokens_as_in_transformers() -> None:
    generation = pytest.importorskip("transformers.models.whisper.generation_whisper")
    theirs = generation.WhisperGenerationMixin._retrieve_compression_ratio
    for tokens in ((5, 6, 7, 8) * 8, tuple(range(300, 340)), (50_000, 1), (9,)):
        assert token_ratio(tokens) == theirs(torch.tensor(tokens), 51_865)
    many = (70_000, 5, 6, 70_000, 5, 6)  # a checkpoint with many tokens of its own
    assert token_ratio(many) == theirs(torch.tensor(many), 80_000)
    again, once = ((5, 6, 7, 8) * 20, tuple(range(300, 380)))
    options = WhisperOptions(compression_ratio_threshold=1.35)
    assert is_repetitive(decoded(generated=Generated(again, (), 0.0, True)), options)
    assert not is_repetitive(decoded(generated=Generated(once, (), 0.0, True), compression_ratio=9.0), options)
    assert is_repetitive(decoded(generated=Generated(once, (), 0.0, True), compression_ratio=9.0), WhisperOptions())


def test_words_are_odd_if_they_are_rare_short_or_long() -> None:
    assert not is_odd(segment(0.0, 2.0))
    assert is_odd(segment(0.0, 2.0, confidence=0.14))
    # 0.053 s each: 15 * (0.133 - 0.053) = 1.2 a word, 3 are reached with three of them.
    assert is_odd(segment(0.0, 0.053 * 3, n_words=3))
    assert not is_odd(segment(0.0, 0.12 * 4))
    assert is_odd(segment(0.0, 20.0))
    # Only the first eight words count, and punctuation does not.
    tail = replace(segment(0.0, 8.0), words=(*segment(0.0, 8.0, n_words=8).words, *odd(8.0, 30.0).words))
    assert not is_odd(tail)
    assert not is_odd(Segment("", 0.0, 1.0))


def skip(*segments: Segment, ends: bool = False, spoken_until: float = 99.0) -> Skip:
    return skip_hallucinations(segments, 2.0, (100.0, 130.0), ends, spoken_until, 0.0)


def test_a_window_that_begins_with_odd_words_after_silence_is_heard_again_from_them() -> None:
    assert skip(odd(103.0, 104.0), segment(105.0, 106.0)) == Skip(0, 103.0)
    assert skip(odd(101.9, 104.0), segment(104.0, 106.0)).n_kept == 2


def test_odd_words_between_silences_are_skipped() -> None:
    clear = segment(101.0, 104.0)
    # Silence of 3 s on both sides.
    assert skip(clear, odd(107.0, 108.0), segment(111.0, 112.0)) == Skip(1, 107.0)
    # Speech close by on either side.
    assert skip(clear, odd(105.0, 106.0), segment(111.0, 112.0)) == Skip(3)
    assert skip(clear, odd(107.0, 108.0), segment(109.0, 112.0)) == Skip(3)
    # More odd words after it, or the window's end.
    assert skip(clear, odd(107.0, 108.0), odd(109.0, 110.0)) == Skip(1, 107.0)
    assert skip(clear, odd(127.0, 128.5)) == Skip(1, 127.0)


def test_odd_words_at_the_recording_s_end_are_its_end() -> None:
    assert skip(segment(101.0, 104.0), odd(127.0, 128.5), ends=True) == Skip(1, 130.0)
    assert skip(segment(101.0, 104.0), odd(126.0, 127.5), segment(129.8, 129.9), ends=True) == Skip(1, 126.0)


def test_at_least_a_second_is_skipped() -> None:
    assert skip(odd(100.5, 101.5), segment(104.0, 105.0), spoken_until=90.0) == Skip(0, 101.0)


def test_a_loop_is_the_same_text_too_often_and_too_fast() -> None:
    fast = [Segment(" Bla bla.", at * 0.1, at * 0.1 + 0.1) for at in range(5)]
    assert looping([], fast) == [False, True, True, True, True]
    assert looping([], fast[:3]) == [False] * 3
    assert looping(fast[:3], fast[3:]) == [True, True]
    slow = [replace(one, start=at, end=at + 1.0) for at, one in enumerate(fast)]
    assert looping([], slow) == [False] * 5
    assert looping([], [*fast[:2], replace(fast[2], text=" other"), *fast[3:]]) == [False] * 5
    assert looping([], [replace(one, text="  ") for one in fast]) == [False] * 5


def decoded(**changes: object) -> Decoded:
    values = {"generated": Generated((), (), 0.0, True), "temperature": 0.0, "avg_logprob": -0.2,
              "compression_ratio": 1.0, "no_speech_prob": 0.1}  # fmt: skip
    return Decoded(**{**values, **changes})  # type: ignore[arg-type]


def test_a_segment_is_hardly_believed_half_of_the_way_to_a_threshold() -> None:
    options = WhisperOptions()
    assert not hardly_believed([-0.3, -0.6], decoded(), options)
    assert hardly_believed([-0.5, -0.6], decoded(), options)
    assert hardly_believed([-0.1], decoded(no_speech_prob=0.31), options)
    assert hardly_believed([-0.1], decoded(trusted=False), options)
    assert hardly_believed([-0.1], decoded(compression_ratio=2.5), options)
    off = WhisperOptions(logprob_threshold=None, no_speech_threshold=None, compression_ratio_threshold=None)
    assert not hardly_believed([-5.0], decoded(no_speech_prob=1.0, compression_ratio=9.0), off)


def test_a_span_is_voiced_if_it_touches_voice() -> None:
    voice = [(1.0, 2.0), (5.0, 6.0)]
    assert [is_voiced(*span, voice) for span in ((0.0, 1.0), (0.0, 1.1), (2.0, 5.0), (1.5, 1.5), (3.0, 3.0))] == [
        False, True, False, True, False,
    ]  # fmt: skip
    assert voiced_seconds(1.5, 5.5, voice) == 1.0
    assert voiced_seconds(0.0, 9.0, []) == 0.0


def words(*spans: tuple[float, float]) -> list[Word]:
    return [Word(f" {at}", *span, 0.9) for at, span in enumerate(spans)]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((0.5, 4.0), (0.5, 1.0)),  # it ends in the pause
        ((2.0, 5.5), (5.0, 5.5)),  # it begins in the pause
        ((0.9, 5.5), (5.0, 5.5)),  # most of it is after the pause
        ((0.2, 5.3), (0.2, 1.0)),  # most of it is before the pause
        ((2.0, 4.0), (2.0, 4.0)),  # nobody was heard, but the decoder
        ((5.5, 7.4), (5.5, 7.4)),  # the pause is shorter than a second
        ((0.0, 1.0), (0.0, 1.0)),
    ],
)
def test_a_word_is_not_stretched_over_a_pause(given: tuple[float, float], wanted: tuple[float, float]) -> None:
    voice = [(0.0, 1.0), (5.0, 6.0), (6.9, 8.0)]
    assert [(word.start, word.end) for word in snap_words(words(given), voice)] == [wanted]
    assert [(word.start, word.end) for word in snap_words(words(given), [])] == [given]


def test_words_stay_in_order_when_they_are_snapped() -> None:
    voice = [(0.0, 1.0), (3.0, 4.0), (6.0, 7.0)]
    snapped = snap_words(words((0.5, 2.0), (2.0, 3.5), (3.5, 6.5), (6.5, 7.0)), voice)
    assert [(word.start, word.end) for word in snapped] == [(0.5, 1.0), (3.0, 3.5), (3.5, 4.0), (6.5, 7.0)]


def test_probabilities_are_averaged_over_windows() -> None:
    found = average([{"en": 0.9, "de": 0.1}, {"en": 0.2, "de": 0.8}, {"en": 0.2, "de": 0.8}])
    assert most_probable(found) == ("de", pytest.approx(1.7 / 3))


def test_a_language_changes_at_a_sure_window_or_at_the_second_likely_one() -> None:
    tracker = LanguageTracker()
    heard = []
    for english in (0.6, 0.4, 0.6, 0.4, 0.3, 0.15, 0.81, 0.45, 0.45):
        changes = tracker.hear({"en": english, "de": 1 - english})
        heard.append((tracker.language, changes))
    assert heard == [
        ("en", False), ("en", False), ("en", False), ("en", False), ("de", True),
        ("de", False), ("en", True), ("en", False), ("de", True),
    ]  # fmt: skip


def test_three_languages_are_likely_only_above_one_half() -> None:
    tracker = LanguageTracker("en")
    assert not tracker.hear({"en": 0.2, "de": 0.45, "fr": 0.35})
    assert not tracker.hear({"en": 0.2, "de": 0.45, "fr": 0.35})
    assert not tracker.hear({"en": 0.2, "de": 0.55, "fr": 0.25})
    assert not tracker.hear({"en": 0.2, "de": 0.25, "fr": 0.55})
    assert tracker.language == "en"


def test_voice_between_segments_is_unheard_from_two_seconds_on() -> None:
    segments = [Segment(" a", 1.0, 4.0), Segment(" ", 4.0, 9.0), Segment(" b", 9.0, 12.0)]
    voice = [(0.5, 3.0), (5.0, 6.5), (7.0, 9.5), (11.0, 20.0)]
    assert unheard(segments, 0.0, 14.5, voice) == [(5.0, 9.0), (12.0, 14.5)]
    assert unheard(segments, 0.0, 13.9, voice) == [(5.0, 9.0)]
    assert unheard(segments, 0.0, 30.0, []) == []
    assert unheard([], 0.0, 3.0, voice) == [(0.5, 3.0)]
