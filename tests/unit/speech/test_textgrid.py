"""TextGrid files, read back by a parser written from the published description of the long form."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from auricle.results import Character, Segment, Transcript, Word
from auricle.speech.textgrid import textgrid

Tier = list[tuple[float, float, str]]


def read(text: str) -> tuple[float, dict[str, Tier]]:
    """The end and the tiers. All that counts are the free-standing numbers, strings and flags, in their order."""
    tokens = re.findall(r'"(?:[^"]|"")*"|<\w+>|(?<=[\s=])-?\d+(?:\.\d+)?(?=\s|$)', text)
    values = iter(token[1:-1].replace('""', '"') if token.startswith('"') else token for token in tokens)
    assert (next(values), next(values)) == ("ooTextFile", "TextGrid")
    start, end = float(next(values)), float(next(values))
    assert start == 0
    assert next(values) == "<exists>"
    tiers: dict[str, Tier] = {}
    for _ in range(int(next(values))):
        assert next(values) == "IntervalTier"
        name = next(values)
        assert (float(next(values)), float(next(values))) == (start, end)
        tiers[name] = [(float(next(values)), float(next(values)), next(values)) for _ in range(int(next(values)))]
    assert next(values, None) is None
    return end, tiers


def transcript(*words: Word, duration: float | None = None) -> Transcript:
    text = " ".join(word.text for word in words)
    letters = tuple(Character(letter, word.start, word.end) for word in words for letter in word.text)
    return Transcript(text, (Segment(text, words[0].start, words[-1].end, words, letters),), duration=duration)


def test_words_and_silence_tile_the_recording() -> None:
    end, tiers = read(textgrid(transcript(Word("one", 0.5, 0.75, 1.0), Word('"two"', 1.0, 1.5, 1.0), duration=2.0)))

    assert end == 2.0
    assert tiers["words"] == [(0, 0.5, ""), (0.5, 0.75, "one"), (0.75, 1.0, ""), (1.0, 1.5, '"two"'), (1.5, 2.0, "")]
    assert tiers["segments"] == [(0, 0.5, ""), (0.5, 1.5, 'one "two"'), (1.5, 2.0, "")]


def test_a_word_without_length_is_written_with_the_one_before() -> None:
    _, tiers = read(textgrid(transcript(Word("yes", 0.0, 1.0, 1.0), Word("—", 1.0, 1.0, 0.0), duration=1.0)))

    assert tiers["words"] == [(0.0, 1.0, "yes —")]


def test_characters_are_a_third_tier_on_request() -> None:
    made = transcript(Word("a", 0.0, 0.5, 1.0), Word("b", 0.5, 1.0, 1.0), duration=1.0)

    assert list(read(textgrid(made))[1]) == ["segments", "words"]
    assert read(textgrid(made, characters=True))[1]["characters"] == [(0.0, 0.5, "a"), (0.5, 1.0, "b")]


@pytest.mark.parametrize("seed", range(20))
def test_intervals_never_overlap_or_leave_a_gap(seed: int) -> None:
    random = np.random.default_rng(seed)
    times = np.sort(random.uniform(0, 0.05 if seed % 2 else 5, 40)).tolist()
    words = [Word(f"w{place}", start, end, 1.0) for place, (start, end) in enumerate(pairwise(times))]

    end, tiers = read(textgrid(transcript(*words, duration=6.0)))

    for intervals in tiers.values():
        assert intervals[0][0] == 0
        assert intervals[-1][1] == end
        assert all(one[1] == other[0] for one, other in pairwise(intervals))
        assert all(start < until for start, until, _ in intervals)
    assert " ".join(" ".join(text for *_, text in tiers["words"]).split()) == " ".join(word.text for word in words)
