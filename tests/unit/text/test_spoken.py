"""How what is written is spoken: examples that anybody can check by reading them aloud."""

from __future__ import annotations

import pytest

from auricle.text.spoken import MOST, spoken


def first(text: str, language: str = "en") -> list[str]:
    return [readings[0] if readings else "" for readings in spoken(text.split(), language)]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("the year 1984", "the year nineteen eighty four"),
        ("in 1905, and 2005", "in nineteen oh five and two thousand and five"),
        ("1,250 people", "one thousand two hundred fifty people"),
        ("2.75 or -3", "two point seven five or minus three"),
        ("the 23rd of May", "the twenty third of May"),
        ("It cost $5.20.", "It cost five dollars and twenty cents"),
        ("for £3m", "for three million pounds"),
        ("about $3 million", "about three million dollars"),
        ("1 €, $1", "one  one dollar"),
        ("(23%)", "twenty three percent"),
        ("at 10:30 or 9:05am", "at ten thirty or nine oh five a m"),
        ("at 3:00 p.m.", "at three o'clock p m"),
        ("Mr. Smith, Dr. Li", "mister Smith doctor Li"),
        ("U.S.A. and BBC's", "U S A and B B C's"),
        ("from AT&T to the R&D", "from A T and T to the R and D"),
        ("20°C & 5km", "twenty degrees celsius and five kilometers"),
        ("the 1980s", "the nineteen eighties"),
        ("well-known pages 10-20", "well known pages ten to twenty"),
        ("Henry VIII, Chapter IV", "Henry the eighth Chapter four"),
        ("about COVID-19 on an MP3", "about COVID nineteen on an M P three"),
        ("call 555-1234", "call five five five one two three four"),
        ("me@example.com", "me at example dot com"),
        ("½ or 1/2", "one half or one half"),
        ("10² and 2³", "ten squared and two cubed"),
        ("$.50", "zero point five zero dollars"),
        ("١٢ ②", "twelve "),
        ("don't “quote” it…", "don't quote it"),
        ("agent 007", "agent zero zero seven"),
    ],
)
def test_english_is_said_as_it_is_read_aloud(written: str, said: str) -> None:
    assert " ".join(first(written)) == said


def test_a_year_may_be_said_in_several_ways() -> None:
    (readings,) = spoken(["1984"])

    assert readings[:3] == (
        "nineteen eighty four",
        "nineteen hundred eighty four",
        "one thousand nine hundred eighty four",
    )
    assert len(readings) <= MOST


def test_words_of_capitals_are_spelled_out_only_where_the_text_is_not_all_capitals() -> None:
    assert first("the BBC was III") == ["the", "B B C", "was", "I I I"]
    assert first("THE BBC WAS III TIMES") == ["THE", "BBC", "WAS", "III", "TIMES"]


def test_what_nobody_says_has_no_reading_and_keeps_its_place() -> None:
    assert spoken(["yes", "—", "🎉", "...", "no"]) == [("yes",), (), (), (), ("no",)]


@pytest.mark.parametrize(
    ("language", "written", "said"),
    [
        ("de", "2,5% & 21", ["zwei Komma fünf prozent", "und", "einundzwanzig"]),
        ("fr", "le 1er mai, 3€", ["le", "premier", "mai", "trois euros"]),
        ("es", "el 15%", ["el", "quince por ciento"]),
        ("de-AT", "12", ["zwölf"]),
    ],
)
def test_other_languages_have_their_numbers(language: str, written: str, said: list[str]) -> None:
    assert first(written, language) == said


def test_numbers_of_an_unknown_language_are_not_guessed() -> None:
    assert spoken(["12", "abc"], "xx") == [(), ("abc",)]


def test_every_ending_of_numbers_and_letters_gives_an_answer() -> None:
    pieces = ["1", "0,5", "x.", "'", "$", "%", "-", "III", ":", "th"]
    words = [one + two + three for one in pieces for two in pieces for three in pieces]

    for language in ("en", "de"):
        assert len(spoken(words, language)) == len(words)
