"""Who said which word: every case by hand, and the search against all paths."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from auricle.errors import OptionError
from auricle.results import Character, Segment, SpeakerTurn, Transcript, Word
from auricle.speech import speakers
from auricle.speech.speakers import SpeakerRules, assign_speakers


def heard(text: str, *, start: float = 0.0, each: float = 0.3, gaps: dict[int, float] | None = None) -> Segment:
    """A segment of words of `each` seconds without pause, but for `gaps` before the words of these numbers."""
    at, words = start, []
    for number, word in enumerate(text.split()):
        at += (gaps or {}).get(number, 0.0)
        words.append(Word(word, at, at + each, 0.5))
        at += each
    return Segment(text, words[0].start, words[-1].end, tuple(words), confidence=0.5)


def whole(*segments: Segment, **more: object) -> Transcript:
    return Transcript(" ".join(one.text for one in segments), segments, **more)  # type: ignore[arg-type]


def turns(*spans: tuple[str, float, float]) -> list[SpeakerTurn]:
    return [SpeakerTurn(*span) for span in spans]


def said(transcript: Transcript) -> list[tuple[str | None, str]]:
    return [(one.speaker, one.text) for one in transcript.segments]


def test_segment_is_divided_where_the_speaker_changes() -> None:
    one = heard("Did you go? Yes I did.", gaps={3: 0.4})
    found = assign_speakers(whole(one), turns(("A", 0.0, 1.0), ("B", 1.2, 2.4)))
    assert said(found) == [("A", "Did you go?"), ("B", "Yes I did.")]
    first, second = found.segments
    assert (first.start, first.end) == (0.0, pytest.approx(0.9))
    assert (second.start, second.end) == (pytest.approx(1.3), pytest.approx(2.2))
    assert [word.speaker for word in found.words] == ["A"] * 3 + ["B"] * 3
    assert found.text == "Did you go? Yes I did."


def test_change_without_pause_or_punctuation_stands_where_the_turns_change() -> None:
    one = heard("so that is what we did and what did they say then")  # 12 words of 0.3 s
    found = assign_speakers(whole(one), turns(("A", 0.0, 1.8), ("B", 1.8, 3.6)))
    assert said(found) == [("A", "so that is what we did"), ("B", "and what did they say then")]


def test_backchannel_inside_a_phrase_changes_no_speaker() -> None:
    one = heard("we went to the yeah store to buy some milk")
    apart = turns(("A", 0.0, 1.2), ("B", 1.2, 1.5), ("A", 1.5, 3.0))
    over = turns(("A", 0.0, 3.0), ("B", 1.2, 1.5))
    assert said(assign_speakers(whole(one), apart)) == [("A", one.text)]
    assert said(assign_speakers(whole(one), over)) == [("A", one.text)]


def test_backchannel_between_pauses_or_sentences_is_its_speakers() -> None:
    paused = heard("we went to the store yeah and then we came back", gaps={5: 0.3, 6: 0.3})
    found = assign_speakers(whole(paused), turns(("A", 0.0, 1.5), ("B", 1.8, 2.1), ("A", 2.4, 4.0)))
    assert said(found) == [("A", "we went to the store"), ("B", "yeah"), ("A", "and then we came back")]
    written = heard("We went to the store. Yeah. And then we came back.")
    found = assign_speakers(whole(written), turns(("A", 0.0, 1.5), ("B", 1.5, 1.8), ("A", 1.8, 4.0)))
    assert [speaker for speaker, _ in said(found)] == ["A", "B", "A"]


def test_word_in_two_turns_belongs_to_the_one_that_has_more_of_it() -> None:
    one = heard("one two three four five six seven", each=0.4)
    for boundary, first in ((1.3, 3), (1.5, 4)):  # the fourth word lasts from 1.2 to 1.6
        found = assign_speakers(whole(one), turns(("A", 0.0, boundary), ("B", boundary, 2.8)))
        assert len(found.segments[0].words) == first


@pytest.mark.parametrize("off", [-0.2, 0.2])
def test_turns_that_are_200_ms_off_still_change_between_sentences(off: float) -> None:
    one = heard("Where is it now? It is over there.", each=0.25)
    found = assign_speakers(whole(one), turns(("A", 0.0, 1.0 + off), ("B", 1.0 + off, 2.0)))
    assert said(found) == [("A", "Where is it now?"), ("B", "It is over there.")]


@pytest.mark.parametrize("off", [-0.2, 0.2])
def test_turns_that_are_200_ms_off_still_change_in_a_pause(off: float) -> None:
    one = heard("where is it now it is over there", each=0.25, gaps={4: 0.3})
    found = assign_speakers(whole(one), turns(("A", 0.0, 1.15 + off), ("B", 1.15 + off, 2.3)))
    assert said(found) == [("A", "where is it now"), ("B", "it is over there")]


def test_turn_shorter_than_a_word_takes_it_only_where_nobody_else_speaks() -> None:
    one = heard("I see. Good. And then", each=0.5)
    over = turns(("A", 0.0, 2.5), ("B", 1.2, 1.3))
    assert [speaker for speaker, _ in said(assign_speakers(whole(one), over))] == ["A"]
    alone = turns(("A", 0.0, 0.9), ("B", 1.2, 1.35), ("A", 1.6, 2.5))
    assert said(assign_speakers(whole(one), alone)) == [("A", "I see."), ("B", "Good."), ("A", "And then")]


def test_longer_turn_wins_where_two_speak_at_once() -> None:
    one = heard("yes of course")
    found = assign_speakers(whole(one), turns(("B", 0.0, 0.9), ("A", 0.0, 5.0)))
    assert said(found) == [("A", "yes of course")]


def test_word_outside_all_turns_is_the_nearest_ones_up_to_a_limit() -> None:
    near, far = heard("hello there", start=1.0), heard("is anybody in", start=60.0)
    found = assign_speakers(whole(near, far), turns(("A", 2.0, 4.0), ("B", 5.0, 6.0)))
    assert said(found) == [("A", "hello there"), (None, "is anybody in")]
    assert [word.speaker for word in found.segments[1].words] == [None] * 3


def test_long_silence_between_turns_divides_and_gives_no_word_away() -> None:
    one = heard("that is all thank you", gaps={3: 40.0})
    found = assign_speakers(whole(one), turns(("A", 0.0, 1.0), ("B", 40.9, 41.6)))
    assert said(found) == [("A", "that is all"), ("B", "thank you")]


def test_phrase_that_goes_on_in_the_next_segment_keeps_its_speaker() -> None:
    first, second = heard("we went to the"), heard("store to buy milk", start=1.2)
    slip = turns(("A", 0.0, 1.2), ("B", 1.2, 1.4), ("A", 1.4, 3.0))
    assert [speaker for speaker, _ in said(assign_speakers(whole(first, second), slip))] == ["A", "A"]


def test_segments_without_words_are_divided_by_what_is_written() -> None:
    one = Segment(" Did you go there? Yes I did so.", 0.0, 8.0, confidence=0.7)
    found = assign_speakers(whole(one), turns(("A", 0.0, 2.0), ("B", 6.0, 8.0)))
    assert said(found) == [("A", " Did you go there?"), ("B", " Yes I did so.")]
    assert all(not segment.words and segment.confidence == 0.7 for segment in found.segments)
    assert found.segments[1].start == pytest.approx(6.0, abs=0.4)


def test_spaces_characters_and_tokens_stay_with_their_words() -> None:
    words = (Word(" A.", 0.0, 0.4, 0.5), Word(" B.", 1.0, 1.4, 0.9))
    letters = tuple(Character(sign, at, at) for sign, at in (("A", 0.0), ("B", 1.0)))
    one = Segment(" A. B.", 0.0, 1.4, words, letters, tokens=(1, 2), language="en")
    first, second = assign_speakers(whole(one), turns(("x", 0.0, 0.5), ("y", 0.9, 1.5))).segments
    assert (first.text, second.text) == (" A.", " B.")
    assert (first.characters, second.characters) == (letters[:1], letters[1:])
    assert (first.tokens, second.tokens) == ((1, 2), ())
    assert (first.confidence, second.confidence, second.language) == (0.5, 0.9, "en")


def test_only_the_segments_of_a_channel_get_its_speakers() -> None:
    one, other = replace(heard("hello"), channel=0), replace(heard("hi"), channel=1)
    found = assign_speakers(whole(one, other), turns(("A", 0.0, 1.0)), channel=1)
    assert [segment.speaker for segment in found.segments] == [None, "A"]


def test_without_turns_or_words_nothing_changes() -> None:
    silent = Transcript("", (Segment("", 0.0, 1.0),))
    assert assign_speakers(silent, turns(("A", 0.0, 1.0))) == silent
    one = whole(heard("hello"))
    assert assign_speakers(one, []) == one


def test_wrong_rules_are_refused_by_name() -> None:
    with pytest.raises(OptionError, match="nearest_s=-1"):
        SpeakerRules(nearest_s=-1)
    with pytest.raises(OptionError, match="easy_pause_s"):
        SpeakerRules(easy_pause_s=0.01)


def test_search_finds_the_cheapest_of_all_paths() -> None:
    rules, chance = SpeakerRules(), random.Random(7)
    for _ in range(40):
        gaps = {number: chance.choice([0.0, 0.1, 0.3, 3.0]) for number in range(7)}
        text = " ".join(chance.choice(["so", "yes.", "well,", "the"]) for _ in range(7))
        one = heard(text, each=chance.choice([0.1, 0.3, 0.7]), gaps=gaps)
        end = one.words[-1].end
        found = [(chance.choice("AB"), *sorted((chance.uniform(0, end), chance.uniform(0, end)))) for _ in range(5)]
        voices = speakers._voices(turns(*found))
        path = speakers._path([(one.words, None)], voices, rules)
        names = [*(voice.speaker for voice in voices), None]

        def cost(
            chosen: tuple[str | None, ...],
            words: tuple[Word, ...] = one.words,
            voices: list[speakers._Voice] = voices,
            names: list[str | None] = names,
        ) -> float:
            own = sum(
                speakers._word_costs(word, voices, rules)[names.index(name)]
                for word, name in zip(words, chosen, strict=True)
            )
            pairs = zip(itertools.pairwise(words), itertools.pairwise(chosen), strict=True)
            changes = (speakers._change_cost(a, b, None, False, rules) for (a, b), (x, y) in pairs if x != y)
            return own + sum(changes)

        best = min(map(cost, itertools.product(names, repeat=len(one.words))))
        assert cost(tuple(path)) == pytest.approx(best)


def test_text_and_words_are_the_same_with_any_turns() -> None:
    chance = random.Random(3)
    for _ in range(30):
        one = heard(" ".join(chance.choice(["a", "bc.", "d,"]) for _ in range(9)), gaps={4: chance.random()})
        found = assign_speakers(
            whole(one), turns(*((chance.choice("ABC"), at := chance.uniform(0, 3), at + 0.4) for _ in range(6)))
        )
        assert " ".join(segment.text for segment in found.segments) == one.text == found.text
        assert [replace(word, speaker=None) for word in found.words] == list(one.words)
        assert all({word.speaker for word in segment.words} == {segment.speaker} for segment in found.segments)
