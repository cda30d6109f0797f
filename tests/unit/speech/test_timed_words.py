"""Every word of a text gets times, and nothing written is lost, whatever the recognizer gave."""

from __future__ import annotations

import random

import pytest

from auricle.results import Segment, Transcript, Word
from auricle.speech.timed_words import plain, segment_words, timed_words, width


def given(*words: tuple[str, float, float]) -> tuple[Word, ...]:
    return tuple(Word(text, start, end, 0.5) for text, start, end in words)


def test_words_without_leading_spaces_get_those_of_the_text() -> None:
    segment = Segment("so it is", 0.0, 3.0, given(("so", 0.1, 0.4), ("it", 0.5, 0.7), ("is", 0.8, 0.9)))
    assert segment_words(segment) == list(given((" so", 0.1, 0.4), (" it", 0.5, 0.7), (" is", 0.8, 0.9)))


def test_words_written_together_stay_together() -> None:
    segment = Segment("東京です", 0.0, 1.0, given(("東京", 0.0, 0.5), ("です", 0.5, 1.0)))
    assert [word.text for word in segment_words(segment)] == [" 東京", "です"]


def test_a_segment_without_words_is_divided_by_characters() -> None:
    assert segment_words(Segment(" one three ", 2.0, 6.0, confidence=0.25)) == [
        Word(" one", 2.0, 3.5, 0.25),
        Word(" three", 3.5, 6.0, 0.25),
    ]


def test_text_that_no_word_covers_gets_the_time_between_its_neighbours() -> None:
    segment = Segment("one two three four", 0.0, 9.0, given(("one", 1.0, 2.0), ("four", 6.0, 7.0)))
    assert segment_words(segment) == [
        Word(" one", 1.0, 2.0, 0.5),
        Word(" two", 2.0, 3.5, 0.0),
        Word(" three", 3.5, 6.0, 0.0),
        Word(" four", 6.0, 7.0, 0.5),
    ]


def test_marks_that_no_word_brought_along_join_the_word_they_are_written_at() -> None:
    segment = Segment('"Yes," he said.', 0.0, 2.0, given(("Yes", 0.0, 0.5), ("he", 1.0, 1.2), ("said", 1.3, 1.9)))
    assert [word.text for word in segment_words(segment)] == [' "Yes,"', " he", " said."]
    assert [word.start for word in segment_words(segment)] == [0.0, 1.0, 1.3]


def test_words_that_are_not_in_the_text_are_not_written() -> None:
    segment = Segment("one two", 0.0, 2.0, given(("one", 0.0, 0.5), ("blah", 0.5, 0.7), ("two", 1.0, 1.5)))
    assert [word.text for word in segment_words(segment)] == [" one", " two"]


def test_chinese_and_japanese_without_words_break_at_characters_but_not_before_marks() -> None:
    words = segment_words(Segment("「ちょっと」、Tokyoへ。", 0.0, 1.0))
    assert [word.text for word in words] == [" 「ちょっ", "と」、", "Tokyo", "へ。"]


def test_a_word_never_starts_before_the_one_before_it_or_ends_before_it_starts() -> None:
    segment = Segment("a b c", 1.0, 2.0, given(("a", 1.5, 1.4), ("b", 1.2, 1.3), ("c", 1.6, 2.0)))
    assert [(word.start, word.end) for word in segment_words(segment)] == [(1.5, 1.5), (1.5, 1.5), (1.6, 2.0)]


def test_a_segment_without_an_end_ends_with_the_recording() -> None:
    assert segment_words(Segment("ab", 1.0, None), 3.0) == [Word(" ab", 1.0, 3.0, 0.0)]
    assert segment_words(Segment("ab", 1.0, None)) == [Word(" ab", 1.0, 1.0, 0.0)]


def test_segments_of_two_channels_come_by_their_starts() -> None:
    transcript = Transcript("", (Segment("b", 1.0, 2.0, channel=1), Segment("a", 0.0, 3.0, channel=0)), language="en")
    timed = timed_words(transcript)
    assert [(word.word.text, word.channel, word.language) for word in timed] == [(" a", 0, "en"), (" b", 1, "en")]


def test_nothing_written_is_lost_whatever_words_are_given() -> None:
    random.seed(3)
    alphabet = 'ab.,!" \n「。日本ー👍é'
    for _ in range(500):
        text = "".join(random.choices(alphabet, k=random.randrange(20)))
        times = sorted(random.uniform(0, 5) for _ in range(8))
        words = [
            ("".join(random.choices(alphabet, k=random.randrange(1, 4))), start, end)
            for start, end in zip(times[::2], times[1::2], strict=True)
        ]
        written = segment_words(Segment(text, 0.0, 5.0, given(*words)))
        assert "".join(word.text for word in written).strip() == plain(text)


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("日本", 4), ("ｱ", 1), ("Ａ", 2), ("e\u0301", 1), ("👍", 2), ("", 0)]
)
def test_width_counts_columns(text: str, columns: int) -> None:
    assert width(text) == columns
    assert width(text, wide_characters=False) <= columns


def test_plain_text_is_one_line_without_control_characters() -> None:
    assert plain(" a\x00b\x1b[0m\n\u2028c\t\ud800d\ufffe ") == "ab[0m c d"
