"""Where a reader would break a sentence."""

from __future__ import annotations

import pytest

from auricle.speech.phrases import Break, break_between, ends_sentence


@pytest.mark.parametrize(
    ("word", "following", "language", "expected"),
    [
        (" done.", " Then", "en", Break.SENTENCE),
        (' done."', " Then", "en", Break.SENTENCE),
        (" what?", " He", "en", Break.SENTENCE),
        (' "What?"', " he", "en", Break.CLAUSE),
        ("です。", "でも", "ja", Break.SENTENCE),
        (" Mr.", " Smith", "en", Break.BOUND),
        (" J.", " Smith", "en", Break.BOUND),
        (" approx.", " three", "en", Break.BOUND),
        (" p.m.", " three", "en", Break.CLAUSE),  # before a small letter no sentence ends
        (" him,", " though", "en", Break.CLAUSE),
        (" bread", " and", "en", Break.PHRASE),
        (" went", " to", "en-US", Break.PHRASE),
        (" the", " house", "en", Break.BOUND),
        (" The", " house", "en", Break.BOUND),
        (" don’t", " know", "en", Break.BOUND),
        (" green", " house", "en", Break.PLAIN),
        (" das", " Haus", "de", Break.BOUND),
        (" Haus", " und", "de", Break.PHRASE),
        (" Haus", " und", None, Break.PLAIN),
        (" the", " house", "xx", Break.PLAIN),
        ("楽し", "ょ", "ja", Break.BOUND),
    ],
)
def test_a_break_is_as_good_as_what_it_separates(
    word: str, following: str, language: str | None, expected: Break
) -> None:
    assert break_between(word, following, language) is expected


def test_three_dots_end_a_sentence_only_before_a_capital() -> None:
    assert ends_sentence(" well...", " So")
    assert not ends_sentence(" well...", " so")
    assert ends_sentence(" I.", " Then")
