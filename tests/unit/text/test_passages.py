"""Texts divided into sentences, lines and paragraphs."""

from __future__ import annotations

import pytest

from auricle.errors import OptionError
from auricle.text.passages import split_text


def texts(text: str, by: str = "sentence") -> list[str]:
    return [passage.text for passage in split_text(text, by)]


def test_sentences_end_at_their_marks_and_not_at_abbreviations() -> None:
    text = "Mr. Li came at 5 p.m. He said: “Go!” Then J. S. Bach wrote No. 5... and left? Yes."

    assert texts(text) == [
        "Mr. Li came at 5 p.m.",
        "He said: “Go!”",
        "Then J. S. Bach wrote No. 5... and left?",
        "Yes.",
    ]


def test_blank_lines_divide_and_single_line_ends_do_not() -> None:
    text = "A title\r\n\r\nOne line\ngoes on. Two."

    assert texts(text) == ["A title", "One line goes on.", "Two."]
    assert texts(text, "paragraph") == ["A title", "One line goes on. Two."]
    assert texts(text, "line") == ["A title", "One line", "goes on. Two."]


def test_characters_of_unspaced_scripts_are_words() -> None:
    first, second = split_text("广州市。房 AI！")

    assert first.words == ("广", "州", "市。")
    assert second.words == ("房", "AI！")
    assert second.text == "房 AI！"


def test_the_words_are_the_text_without_its_spaces() -> None:
    for passage in split_text("Ab  cd, (ef) 漢字かな交じり gh。「い」う — x.  Y"):
        assert "".join(passage.words) == passage.text.replace(" ", "")


def test_hours_of_text_without_marks_are_one_passage() -> None:
    # A word looks at nothing but its neighbours: these take half a second, and by all of the text five minutes.
    [passage] = split_text(" ".join(["word"] * 100_000))
    assert len(passage.words) == 100_000


def test_a_text_without_words_is_refused() -> None:
    with pytest.raises(OptionError, match="no word"):
        split_text(" \n\n ")


def test_another_division_is_refused_with_the_nearest() -> None:
    with pytest.raises(OptionError, match="did you mean 'sentence'"):
        split_text("a", "sentences")
