"""Two transcripts of a call as one, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auricle.results import Character, Segment, Transcript, Warning, Word
from auricle.speech.channels import divided, merge_channels


def segment(text: str, *times: float, space: str = "", tokens: tuple[int, ...] = ()) -> Segment:
    """A segment whose words begin at `times` and last 0.4 s each."""
    words = tuple(Word(space + word, at, at + 0.4, 0.5) for word, at in zip(text.split(), times, strict=True))
    return Segment(space + text, words[0].start, words[-1].end, words, confidence=0.5, tokens=tokens)


def transcript(*segments: Segment, joint: str = " ", **more: object) -> Transcript:
    return Transcript(joint.join(one.text for one in segments), segments, **more)  # type: ignore[arg-type]


def said(merged: Transcript) -> list[tuple[int | None, str]]:
    return [(one.channel, one.text) for one in merged.segments]


def test_turns_stand_in_the_order_in_which_they_were_said() -> None:
    caller = transcript(segment("hello there", 0.0, 0.5), segment("fine", 5.0), duration=6.0)
    agent = transcript(segment("good morning", 2.0, 2.5), segment("how are you", 3.6, 4.0, 4.4), duration=7.0)
    merged = merge_channels([caller, agent], [0, 1])
    assert said(merged) == [(0, "hello there"), (1, "good morning"), (1, "how are you"), (0, "fine")]
    assert merged.text == "hello there\ngood morning how are you\nfine"
    assert merged.duration == 7.0


def test_silence_before_the_first_word_of_a_segment_gives_it_no_earlier_turn() -> None:
    answer = replace(segment("yes of course", 8.0, 8.4, 8.8), start=0.1)  # as Whisper's timestamps may have it
    merged = merge_channels([transcript(segment("are you there", 0.3, 1.0, 1.5)), transcript(answer)], [0, 1])
    assert merged.text == "are you there\nyes of course"
    assert [one.start for one in merged.segments] == [0.3, 8.0]


def test_answer_stands_between_the_parts_of_a_question() -> None:
    question = transcript(segment("are you there and where is it", 0.0, 0.4, 0.8, 3.0, 3.4, 3.8, 4.2, tokens=(1, 2)))
    merged = merge_channels([question, transcript(segment("yes", 1.5))], [0, 1])
    assert said(merged) == [(0, "are you there"), (1, "yes"), (0, "and where is it")]
    first, _, last = merged.segments
    assert (first.start, first.end, last.start) == (0.0, pytest.approx(1.2), 3.0)
    assert [word.text for word in last.words] == ["and", "where", "is", "it"]
    assert (first.tokens, last.tokens) == ((1, 2), ())


def test_pause_in_which_nobody_speaks_divides_nothing() -> None:
    question = segment("are you there", 0.0, 0.4, 3.0)
    assert said(merge_channels([transcript(question), transcript(segment("yes", 4.0))], [0, 1]))[0] == (
        0,
        question.text,
    )


def test_short_pause_lets_nobody_in() -> None:
    talk = segment("on and on", 0.0, 1.3, 1.8)  # 0.9 s between the first two words
    assert divided(talk, [0.6]) == [talk]
    assert len(divided(segment("on and on", 0.0, 1.5, 2.0), [0.6])) == 2


def test_whisper_keeps_its_own_spaces_and_scripts_without_spaces_get_none() -> None:
    pieces = [Segment(" Hello", 0.0, 1.0), Segment(" again.", 1.0, 2.0)]
    chinese = [Segment("你好", 3.0, 4.0), Segment("世界", 4.0, 5.0)]
    merged = merge_channels([transcript(*pieces, joint=""), transcript(*chinese, joint="")], [0, 1])
    assert merged.text == "Hello again.\n你好世界"


def test_divided_text_keeps_its_punctuation_and_characters_follow_their_words() -> None:
    letters = tuple(Character(sign, at, at) for sign, at in zip("a b", (0.0, 0.4, 3.0), strict=True))
    words = (Word(" a,", 0.0, 0.4, 1.0), Word(" b.", 3.0, 3.4, 0.0))
    whole = Segment(" a, b.", 0.0, 3.4, words, letters)
    first, last = divided(whole, [2.0])
    assert (first.text, last.text) == (" a,", " b.")
    assert (first.confidence, last.confidence) == (1.0, 0.0)
    assert [one.text for one in first.characters] == ["a", " "]
    assert [one.text for one in last.characters] == ["b"]


def test_segments_of_a_channel_never_change_places() -> None:
    odd = transcript(Segment("late", 3.0, 4.0), Segment("early", 1.0, 2.0))
    merged = merge_channels([odd, transcript(Segment("between", 2.0, 2.5))], [0, 1])
    assert [text for _, text in said(merged)] == ["between", "late", "early"]


def test_language_is_that_of_the_channel_with_most_speech() -> None:
    short = transcript(segment("ja", 0.0), language="de", language_probability=0.9)
    long = transcript(segment("yes of course", 1.0, 1.5, 2.0), language="en", language_probability=0.8)
    merged = merge_channels([short, long], [0, 1])
    assert (merged.language, merged.language_probability) == ("en", 0.8)


def test_warnings_name_their_channel_unless_all_have_them() -> None:
    damage = Warning("recording", "the file was cut off")
    one = transcript(warnings=(damage, Warning("skipped", "no voice", 9.0, 12.0)))
    other = transcript(warnings=(damage, Warning("skipped", "no voice", 3.0, 5.0)))
    found = merge_channels([one, other], [0, 1]).warnings
    assert [(warning.message, warning.start) for warning in found] == [
        ("the file was cut off", None),
        ("channel 1: no voice", 3.0),
        ("channel 0: no voice", 9.0),
    ]


def test_one_channel_keeps_its_text_and_gets_its_label() -> None:
    alone = transcript(segment("one two", 0.0, 5.0), segment("three", 7.0))
    merged = merge_channels([alone], [0])
    assert merged.text == alone.text
    assert {one.channel for one in merged.segments} == {0}
    assert merge_channels([Transcript("", duration=1.0)], [0]).text == ""
