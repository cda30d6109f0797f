"""The rules of subtitles: each by a case built by hand, and all together on random speech."""

from __future__ import annotations

import math
import random
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from auricle.errors import OptionError
from auricle.results import Segment, Transcript, Word
from auricle.speech.formats.cues import ticked, word_ticks
from auricle.speech.subtitles import (
    LONGEST_DELAY_S,
    SHORTEST_S,
    Cue,
    SubtitleRules,
    _Costs,
    _divide,
    shape,
)
from auricle.speech.timed_words import timed_words, width

RULES = SubtitleRules()
# Sums of floats.
CLOSE = 1e-9


def spoken(text: str, start: float = 0.0, rate: float = 12.0, channel: int | None = None) -> Segment:
    """Say words one after the other, `rate` characters a second; "|" is half a second of silence."""
    words = []
    for part in text.split():
        if part == "|":
            start += 0.5
            continue
        words.append(Word(f" {part}", start, start + (len(part) + 1) / rate, 0.9))
        start = words[-1].end
    return Segment("".join(word.text for word in words), words[0].start, start, tuple(words), channel=channel)


def heard(*segments: Segment, language: str | None = "en", duration: float | None = None) -> Transcript:
    return Transcript("".join(segment.text for segment in segments), segments, language=language, duration=duration)


def lines(transcript: Transcript, **rules: Any) -> list[tuple[str, ...]]:
    return [cue.lines for cue in shape(transcript, SubtitleRules(**rules))]


def test_nothing_said_is_nothing_shown() -> None:
    assert shape(Transcript("")) == []
    assert shape(heard(Segment("  \n", 0.0, 1.0))) == []


def test_what_fits_on_one_line_is_on_one_line() -> None:
    assert lines(heard(spoken("I have never seen this house before."))) == [("I have never seen this house before.",)]


def test_a_line_is_as_long_as_the_rules_say_and_no_longer() -> None:
    text = "aaaa bbbb cccc dddd"
    assert lines(heard(spoken(text)), max_line_length=19) == [(text,)]
    assert lines(heard(spoken(text)), max_line_length=18) == [("aaaa bbbb", "cccc dddd")]
    assert lines(heard(spoken(text)), max_line_length=9, max_lines=1) == [("aaaa bbbb",), ("cccc dddd",)]


def test_lines_break_before_a_preposition_and_not_after_an_article() -> None:
    text = "they carried all of their bags into the house of the old captain"
    assert lines(heard(spoken(text))) == [("they carried all of their bags", "into the house of the old captain")]


def test_lines_break_after_punctuation() -> None:
    text = "When it rains, we always stay at home and read our books."
    assert lines(heard(spoken(text)))[0] == ("When it rains,", "we always stay at home and read our books.")


def test_subtitles_end_with_sentences() -> None:
    text = "We left the town in the early morning. The road was very long and nobody spoke a word."
    assert lines(heard(spoken(text))) == [
        ("We left the town in the early morning.",),
        ("The road was very long", "and nobody spoke a word."),
    ]


def test_short_sentences_that_follow_at_once_share_a_subtitle() -> None:
    assert lines(heard(spoken("Yes. No. I see."))) == [("Yes. No. I see.",)]


def test_a_word_longer_than_a_line_stands_alone_on_it() -> None:
    word = "Donaudampfschifffahrtsgesellschaft"
    shaped = lines(heard(spoken(f"Die {word} fährt")), max_line_length=20)
    assert [line for cue in shaped for line in cue] == ["Die", word, "fährt"]


def test_three_lines_are_used_where_they_are_allowed() -> None:
    (only,) = lines(heard(spoken("aaaa bbbb cccc dddd eeee ffff", rate=20)), max_line_length=9, max_lines=3)
    assert only == ("aaaa bbbb", "cccc dddd", "eeee ffff")


def test_a_long_pause_ends_a_subtitle() -> None:
    assert lines(heard(spoken("so | | | | then")), max_pause=1.5) == [("so",), ("then",)]
    assert lines(heard(spoken("so | | then")), max_pause=1.5, min_duration=1.5) == [("so then",)]


def test_a_silence_that_one_hears_ends_a_subtitle_unless_the_first_part_would_flash() -> None:
    answer = heard(spoken("Yes I know."), spoken("He left the town in the night.", 1.7))
    assert lines(answer) == [("Yes I know.",), ("He left the town in the night.",)]
    assert lines(answer, min_duration=2.0) == [("Yes I know. He left the town in the night.",)]


def test_subtitles_of_one_sentence_are_about_as_long() -> None:
    assert lines(heard(spoken("aaaa bbbb cccc dddd", rate=8)), max_line_length=14, max_lines=1) == [
        ("aaaa bbbb",),
        ("cccc dddd",),
    ]


def test_a_sentence_is_divided_at_a_pause_or_where_a_segment_ended() -> None:
    expected = [("aaaa bbbb",), ("cccc dddd eeee ffff",)]
    whole = heard(spoken("aaaa bbbb cccc dddd eeee ffff"))
    first = spoken("aaaa bbbb")
    assert first.end is not None
    paused = Segment(
        first.text, first.start, first.end, first.words + spoken("cccc dddd eeee ffff", first.end + 0.2).words
    )
    paused = Segment("".join(word.text for word in paused.words), 0.0, paused.words[-1].end, paused.words)
    apart = heard(first, spoken("cccc dddd eeee ffff", first.end))
    assert lines(whole, max_line_length=20, max_lines=1) == [("aaaa bbbb cccc",), ("dddd eeee ffff",)]
    assert lines(heard(paused), max_line_length=20, max_lines=1) == expected
    assert lines(apart, max_line_length=20, max_lines=1) == expected


def test_a_division_leaves_little_to_be_read_too_fast() -> None:
    hasty = spoken("aaaa bbbb cccc dddd", rate=40)
    calm = spoken("eeee ffff", hasty.words[-1].end, rate=4)
    one = Segment(hasty.text + calm.text, 0.0, calm.end, hasty.words + calm.words)
    rules = {"max_line_length": 20, "max_lines": 1, "min_gap": 0.0, "min_duration": 0.1}
    assert lines(heard(one), **rules) == [("aaaa bbbb",), ("cccc dddd eeee ffff",)]


def test_a_subtitle_stays_after_its_words_until_it_is_read() -> None:
    (cue,) = shape(heard(spoken("0123456789 0123456789 0123456789", rate=30)))
    assert cue.end - cue.start == pytest.approx(32 / 17)


def test_a_subtitle_stays_for_the_least_time_but_not_past_the_recording() -> None:
    assert shape(heard(spoken("Hm", 3.0)))[0].end == pytest.approx(3.0 + 5 / 6)
    assert shape(heard(spoken("Hm", 3.0), duration=3.5))[0].end == 3.5


def test_a_subtitle_does_not_linger_over_silence() -> None:
    fast = " ".join(["0123456789"] * 4)
    (cue,) = shape(heard(spoken(fast, rate=100)), SubtitleRules(max_linger=1.0))
    assert cue.end == pytest.approx(len(fast + " ") / 100 + 1.0)


def test_a_subtitle_makes_room_for_the_next_one() -> None:
    first, second = shape(heard(spoken("A whole line of words is said here."), spoken("And more.", 3.0)))
    assert second.start == 3.0
    assert first.end == pytest.approx(3.0 - 2 / 24)


@pytest.mark.parametrize(("gap", "end"), [(0.3, 4.0 - 2 / 24), (0.49, 4.0 - 2 / 24), (0.51, 3.49)])
def test_small_gaps_are_closed_and_large_ones_stay(gap: float, end: float) -> None:
    first = Segment(" A long and calm sentence.", 1.0, 4.0 - gap)
    shaped = shape(heard(first, Segment(" Next one.", 4.0, 6.0)), SubtitleRules(max_lines=1, max_line_length=26))
    assert [cue.text for cue in shaped] == ["A long and calm sentence.", "Next one."]
    assert shaped[0].end == pytest.approx(end)


def test_no_subtitle_lasts_longer_than_the_rules_say() -> None:
    slow = Segment("one two three four five six seven eight", 0.0, 24.0)
    shaped = shape(heard(slow))
    assert len(shaped) > 3
    assert max(cue.end - cue.start for cue in shaped) <= 7 + CLOSE
    (held,) = shape(heard(Segment("Ooooh", 0.0, 20.0)))
    assert (held.start, held.end) == (0.0, 7.0)


def test_a_subtitle_waits_a_moment_for_one_that_would_flash() -> None:
    first, second = shape(heard(spoken("No!", 1.0, rate=20, channel=0), spoken("Why is that?", 1.3, channel=1)))
    assert first.end - first.start == pytest.approx(1.3 + LONGEST_DELAY_S - 2 / 24 - 1.0)
    assert second.start == pytest.approx(1.3 + LONGEST_DELAY_S)


def test_another_channel_begins_a_subtitle_with_a_dash() -> None:
    talk = heard(
        spoken("Are you coming?", 0.0, channel=0),
        spoken("In a minute.", 1.6, channel=1),
        spoken("I have to find my coat.", 3.2, channel=1),
        spoken("Good.", 6.0, channel=0),
    )
    expected = [("Are you coming?",), ("In a minute.",), ("I have to find my coat.",), ("Good.",)]
    assert lines(talk, speakers="none", max_line_length=25, max_lines=1) == expected
    dashed = lines(talk, max_line_length=25, max_lines=1)
    assert dashed == [("- Are you coming?",), ("- In a minute.",), ("I have to find my coat.",), ("- Good.",)]
    labelled = lines(talk, speakers="label", max_line_length=29, max_lines=1)
    assert [cue[0][:4] for cue in labelled] == ["[1] ", "[2] ", "I ha", "[1] "]


def test_one_channel_has_no_dashes() -> None:
    assert lines(heard(spoken("Are you coming?", channel=1))) == [("Are you coming?",)]


def test_channels_that_speak_at_once_share_the_time_by_what_is_to_be_read() -> None:
    long = spoken("I told you that we should have gone there much earlier today.", 0.0, channel=0)
    first, second = shape(heard(long, spoken("Right.", 1.0, channel=1)))
    assert (first.channel, second.channel) == (0, 1)
    assert first.end - first.start > 2.5
    assert second.end - second.start >= RULES.min_duration - CLOSE


def test_subtitles_of_two_channels_come_in_the_order_they_are_heard() -> None:
    long = "I told you that we should have gone there much earlier today, "
    talk = heard(spoken(long * 3, 0.0, channel=0), spoken("Right.", 6.0, channel=1))
    starts = [cue.words[0].start for cue in shape(talk)]
    assert starts == sorted(starts)
    assert [cue.channel for cue in shape(talk)][1:-1].count(1) == 1


def test_wide_characters_count_two_columns_and_are_joined_without_spaces() -> None:
    words = tuple(
        Word(text, 0.5 * place, 0.5 * place + 0.5, 0.9) for place, text in enumerate(["東京", "は", "今日", "雨"])
    )
    transcript = heard(Segment("東京は今日雨", 0.0, 2.0, words), language="ja")
    assert lines(transcript, max_line_length=12) == [("東京は今日雨",)]
    assert lines(transcript, max_line_length=11) == [("東京は", "今日雨")]
    assert lines(transcript, max_line_length=6, wide_characters=False) == [("東京は今日雨",)]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"max_line_length": 0}, "max_line_length=0; expected a whole number from 1 on"),
        ({"max_lines": True}, "max_lines=True"),
        ({"max_lines": 2.0}, "max_lines=2.0"),
        ({"max_chars_per_second": 0}, "max_chars_per_second=0; expected a finite number above 0"),
        ({"min_gap": -0.1}, "min_gap=-0.1; expected a finite number from 0 on"),
        ({"min_gap": 1.5}, "min_gap=1.5; expected at most 1 s"),
        ({"max_duration": math.inf}, "max_duration=inf"),
        ({"max_duration": 0.001}, "a frame of film"),
        ({"min_duration": 8.0}, "min_duration=8 is above max_duration=7"),
        ({"min_duration": "1"}, "min_duration='1'"),
        ({"speakers": "dashes"}, "did you mean 'dash'"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        SubtitleRules(**rules)


def test_the_cheapest_of_all_divisions_is_found() -> None:
    random.seed(5)
    rules = SubtitleRules(max_line_length=12, max_duration=3.0)
    for _ in range(40):
        run = timed_words(heard(random_segment(0.0, random.randrange(1, 9))))
        costs = _Costs(run, math.inf, rules, 0)

        @cache
        def cheapest(first: int, costs: _Costs = costs, n: int = len(run)) -> float:
            if first == n:
                return 0.0
            ends = ((end, costs.cue(first, end)) for end in range(first + 1, n + 1))
            return min((cue[0] + cheapest(end) for end, cue in ends if cue is not None), default=math.inf)

        places = [0]
        for cue in _divide(run, math.inf, rules, ""):
            places.append(places[-1] + len(cue.words))
        found = [costs.cue(first, end) for first, end in pairwise(places)]
        assert places[-1] == len(run)
        assert sum(cue[0] for cue in found if cue is not None) == pytest.approx(cheapest(0))


def random_segment(start: float, n_words: int, channel: int | None = None) -> Segment:
    """Words of up to 14 letters, sometimes of no length, sometimes far apart."""
    words = []
    for _ in range(n_words):
        start += random.choice([0.0, 0.0, 0.02, 0.2, 0.6, random.uniform(0, 5)])
        text = "".join(random.choices("abcdefgh", k=random.choice([1, 2, 3, 4, 5, 6, 14])))
        text = random.choice(["", "", "the ", "and "]).strip() or text
        end = start + random.choice([0.0, len(text) / 20, len(text) / 12, random.uniform(0, 3)])
        words.append(Word(f" {text}{random.choice(['', '', '', ',', '.', '?'])}", start, end, 0.9))
        start = end
    return Segment("".join(word.text for word in words), words[0].start, start, tuple(words), channel=channel)


def random_transcript() -> Transcript:
    segments = [random_segment(random.uniform(0, 2), random.randrange(1, 30))]
    for _ in range(random.randrange(4)):
        before = segments[-1].end or 0.0
        segments.append(random_segment(before + random.choice([0.0, 0.1, 3.0]), random.randrange(1, 30)))
    if random.random() < 0.3:
        segments = [Segment(one.text, one.start, one.end) for one in segments]
    return heard(*segments)


def assert_rules_are_kept(cues: list[Cue], rules: SubtitleRules) -> None:
    for cue in cues:
        assert len(cue.lines) <= rules.max_lines
        for row, line in zip(cue.rows, cue.lines, strict=True):
            assert width(line) <= rules.max_line_length or len(row) == 1
        assert SHORTEST_S - CLOSE <= cue.end - cue.start <= rules.max_duration + CLOSE
    for before, after in pairwise(cues):
        assert after.start - before.end >= rules.min_gap - CLOSE
        gap = after.start - before.end
        chained = gap <= rules.min_gap + CLOSE or gap >= rules.chain_gap - CLOSE
        assert chained or before.end - before.start >= rules.max_duration - CLOSE


@pytest.mark.parametrize("seed", range(60))
def test_all_rules_are_kept_on_random_speech(seed: int) -> None:
    random.seed(seed)
    rules = SubtitleRules(
        max_line_length=random.choice([12, 20, 42]),
        max_lines=random.choice([1, 2, 3]),
        max_chars_per_second=random.choice([10.0, 17.0]),
        min_gap=random.choice([0.0, 2 / 24]),
    )
    transcript = random_transcript()
    cues = shape(transcript, rules)
    assert_rules_are_kept(cues, rules)
    words = [timed.word for timed in timed_words(transcript)]
    assert [word for cue in cues for word in cue.words] == words
    for place, cue in enumerate(cues):
        # Only a subtitle that lasted the least time may have kept this one waiting.
        assert cue.words[0].start - CLOSE <= cue.start
        pauses = [b.start - a.end for a, b in zip(cue.words, cue.words[1:], strict=False)]
        assert max(pauses, default=0.0) <= rules.max_pause
        columns = sum(map(width, cue.lines))
        needed = max(rules.min_duration, columns / rules.max_chars_per_second)
        if cue.end - cue.start < min(needed, rules.max_duration) - CLOSE:
            full = place + 1 < len(cues) and cues[place + 1].start - cue.end <= rules.min_gap + CLOSE
            assert full or cue.end >= cue.words[-1].end + rules.max_linger - CLOSE


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("per_second", [10, 100, 1000])
def test_subtitles_do_not_overlap_in_a_formats_ticks_either(seed: int, per_second: int) -> None:
    random.seed(seed)
    ticks = ticked(shape(random_transcript(), SubtitleRules(min_gap=0.0)), per_second)
    assert all(tick.start < tick.end for tick in ticks)
    assert all(before.end <= after.start for before, after in pairwise(ticks))
    for tick in ticks:
        spoken = [time for row in word_ticks(tick, per_second) for _, *times in row for time in times]
        assert spoken == sorted(spoken)
        assert tick.start <= spoken[0]
        assert spoken[-1] <= tick.end


@pytest.mark.parametrize("seed", range(30))
def test_channels_that_speak_at_once_keep_gaps_order_and_words(seed: int) -> None:
    random.seed(seed)
    sides = []
    for channel in (0, 1):
        start = 0.0
        for _ in range(3):
            sides.append(random_segment(start, random.randrange(1, 15), channel))
            start = sides[-1].end or 0.0
    transcript = heard(*sides)
    cues = shape(transcript)
    assert_rules_are_kept(cues, RULES)
    for channel in (0, 1):
        said = [timed.word for timed in timed_words(transcript) if timed.channel == channel]
        assert [word for cue in cues if cue.channel == channel for word in cue.words] == said
