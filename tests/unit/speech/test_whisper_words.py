"""Words from tokens: grouping, punctuation and pauses, by hand; windows cut into segments likewise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from auricle.decoding.generate import Generated
from auricle.results import Word
from auricle.speech.whisper_options import APPENDED, PREPENDED, WhisperOptions
from auricle.speech.whisper_windows import (
    Decoded,
    Piece,
    compression_ratio,
    is_silence,
    needs_fallback,
    seed_of,
    split_window,
    text_before,
)
from auricle.speech.whisper_words import fit_words, group_words, split_characters, time_words, trim_starts

STAMP = 1000


def decode_bytes(ids: Sequence[int]) -> str:
    return bytes(ids).decode(errors="replace")


def words_of(pieces: Sequence[str], language: str = "en") -> list[str]:
    """Words of a text given as its tokens, divided by bars."""
    ids = range(len(pieces))
    words = group_words(ids, lambda some: "".join(pieces[id] for id in some), language, PREPENDED, APPENDED)
    assert [word.begin for word in words] == [0, *(word.end for word in words)][:-1]
    assert words[-1].end == len(pieces)
    return [word.text for word in words]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Hel|lo|,| world|!", [" Hello,", " world!"]),
        (' He| said| "|no|".', [" He", " said", ' "no".']),
        (' He| said| "|no|"|.', [" He", " said", ' "no".']),
        (" (|well|)| ...", [" (well)", " ..."]),
        (" it|'s| 100| %", [" it's", " 100", " %"]),
        # Whisper's rule: a mark without a space begins a word, and is given back only if it stands alone.
        (" 3|.|5| self|-|made", [" 3", ".5", " self", "-made"]),
        ("begin| here", ["begin", " here"]),
        (" ét|é| ¿|qué|?", [" été", " ¿qué?"]),
        (" a| (", [" a", " ("]),
    ],
)
def test_words_keep_their_space_and_take_their_punctuation(text: str, expected: list[str]) -> None:
    assert words_of(text.split("|")) == expected


def test_languages_without_spaces_are_cut_at_characters() -> None:
    assert words_of("今|日|は|。".split("|"), "ja") == ["今", "日", "は。"]


def test_a_character_of_several_tokens_is_one_unit() -> None:
    groups = split_characters(list("aé今".encode()), decode_bytes)
    assert [(one.text, one.begin, one.end) for one in groups] == [("a", 0, 1), ("é", 1, 3), ("今", 3, 6)]


def test_bytes_that_never_become_a_character_are_kept() -> None:
    words = group_words(list(b" a\xff b\xe4\xbb"), decode_bytes, "en", PREPENDED, APPENDED)
    # The last two bytes make one replacement character together, and one each.
    assert [word.text for word in words] == [" a�", " b��"]


def test_a_word_lasts_from_its_first_token_to_the_next_word() -> None:
    words = group_words(list(b" ab c"), decode_bytes, "en", PREPENDED, APPENDED)
    timed = time_words(words, [0.0, 0.1, 0.2, 0.5, 0.6, 0.9], [1.0, 0.5, 0.6, 0.2, 0.4])
    assert timed == [Word(" ab", 0.0, 0.5, pytest.approx(0.7)), Word(" c", 0.5, 0.9, pytest.approx(0.3))]


def test_a_pause_after_a_sentence_is_taken_out_of_its_last_word() -> None:
    words = [Word(" a", 0.0, 0.3, 1), Word(" b.", 0.3, 4.0, 1), Word(" c", 4.0, 4.2, 1)]
    fitted = fit_words(words, 0.0, 4.2)
    assert [(word.start, word.end) for word in fitted] == [(0.0, 0.3), (0.3, pytest.approx(0.9)), (4.0, 4.2)]


def test_a_pause_before_a_sentence_is_taken_out_of_its_first_word() -> None:
    words = [Word(" a.", 0.0, 0.3, 1), Word(" b", 0.3, 4.0, 1), Word(" c", 4.0, 4.2, 1)]
    fitted = fit_words(words, 0.0, 4.2)
    assert fitted[1].start == pytest.approx(3.4)


def test_the_first_and_last_word_keep_to_the_segment_s_times() -> None:
    words = [Word(" a", 0.0, 1.0, 1), Word(" b", 1.0, 2.0, 1)]
    assert [(word.start, word.end) for word in fit_words(words, 0.4, 1.5)] == [(0.4, 1.0), (1.0, 1.5)]
    # Where they do not overlap, the segment's time says nothing of the word.
    assert [(word.start, word.end) for word in fit_words(words, 1.2, 1.0)] == [(0.0, 1.0), (1.0, 2.0)]


def test_no_words_stay_no_words() -> None:
    assert fit_words([], 0.0, 1.0) == ()
    assert group_words([], decode_bytes, "en", PREPENDED, APPENDED) == []


# Windows.


def tokens(*parts: int | str) -> list[int]:
    """Timestamps are given in steps, text as letters."""
    found: list[int] = []
    for part in parts:
        found += [ord(letter) for letter in part] if isinstance(part, str) else [STAMP + part]
    return found


@pytest.mark.parametrize(
    ("parts", "pieces", "follow"),
    [
        ((0, "ab", 100, 100, "c", 200, 200, "d"), [Piece(0, 4, 0, 100), Piece(4, 7, 100, 200)], 200),
        ((0, "ab", 100, 110, "c", 200), [Piece(0, 4, 0, 100), Piece(4, 7, 110, 200)], None),
        ((0, "ab", 100, 100), [Piece(0, 4, 0, 100)], 100),
        ((5, "ab", 100), [Piece(0, 4, 5, 100)], None),
        ((40, "ab"), [Piece(0, 3, 40, None)], None),
        (("ab",), [Piece(0, 2, 0, None)], None),
        ((), [Piece(0, 0, 0, None)], None),
        ((0,), [Piece(0, 1, 0, None)], None),
        # A window that closed nothing yet would be heard for ever.
        ((0, 0, "a"), [Piece(0, 1, 0, None)], None),
        # What follows 30.00 s was added to the vocabulary: text, wherever it stands.
        ((0, 1501, 100, 100, 1502), [Piece(0, 3, 0, 100)], 100),
        ((0, "a", 1501, 1502), [Piece(0, 4, 0, None)], None),
        ((0, "a", 1500), [Piece(0, 3, 0, 1500)], None),
    ],
)
def test_a_window_is_cut_where_two_timestamps_meet(
    parts: tuple[int | str, ...], pieces: list[Piece], follow: int | None
) -> None:
    assert split_window(tokens(*parts), STAMP) == (pieces, follow)


def decoded(avg_logprob: float = -0.2, ratio: float = 1.5, no_speech: float = 0.0) -> Decoded:
    return Decoded(Generated((), (), 0.0, True), 0.0, avg_logprob, ratio, no_speech)


@pytest.mark.parametrize(
    ("one", "fallback", "silence"),
    [
        (decoded(), False, False),
        (decoded(ratio=2.5), True, False),
        (decoded(avg_logprob=-1.1), True, False),
        (decoded(avg_logprob=-1.1, no_speech=0.7), False, True),
        (decoded(avg_logprob=-0.9, no_speech=0.9), False, False),
        (decoded(avg_logprob=-1.1, no_speech=0.7, ratio=9.0), False, True),
        (decoded(avg_logprob=-0.9, no_speech=0.7, ratio=9.0), True, False),
    ],
)
def test_fallback_and_silence_are_decided_as_openai_does(one: Decoded, fallback: bool, silence: bool) -> None:
    assert needs_fallback(one, WhisperOptions()) == fallback
    assert is_silence(one, WhisperOptions()) == silence


def test_thresholds_of_none_decide_nothing() -> None:
    off = WhisperOptions(compression_ratio_threshold=None, logprob_threshold=None, no_speech_threshold=None)
    worst = decoded(-9.0, 20.0, 1.0)
    assert not needs_fallback(worst, off)
    assert not is_silence(worst, off)


def test_the_compression_ratio_is_of_the_text_s_bytes() -> None:
    assert compression_ratio("") == 0.0
    assert compression_ratio("ab" * 200) > 10
    assert compression_ratio("A quick brown fox jumps over the lazy dog.") < 1


def test_the_text_before_keeps_what_is_always_told_and_the_end_of_the_rest() -> None:
    assert text_before([], [], 223) == []
    assert text_before([], list(range(1000)), 223) == list(range(777, 1000))
    assert text_before([7, 8], list(range(1000)), 5) == [7, 8, 997, 998, 999]
    assert text_before([7, 8], [1], 5) == [7, 8, 1]
    assert text_before([7, 8, 9], [1, 2], 3) == [7, 8, 9]
    assert text_before([7, 8, 9], [1, 2], 2) == [7, 8]


def test_seeds_differ_by_seed_window_and_attempt() -> None:
    seeds = {seed_of(*key) for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))}
    assert len(seeds) == 4
    assert seed_of(0, 480_000, 2) == seed_of(0, 480_000, 2)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert all(before != after for before, after in pairwise(seed_of(0, at, 0) for at in range(50)))


def bursts(*spans: tuple[float, float], seconds: float = 4.0) -> np.ndarray:
    """Noise at 16 kHz that is loud in the spans, in seconds, and faint elsewhere."""
    samples = np.random.default_rng(0).standard_normal(round(seconds * 16000)).astype(np.float32) * 1e-4
    for start, end in spans:
        samples[round(start * 16000) : round(end * 16000)] *= 1000
    return samples


def test_a_word_begins_where_its_sound_does() -> None:
    words = [Word(" one", 10.5, 11.0, 1.0), Word(" two", 11.0, 12.6, 1.0)]
    trimmed = trim_starts(words, bursts((0.5, 1.0), (2.0, 2.6)), 10.0, 16000)
    assert trimmed[0] == words[0]
    assert trimmed[1].start == pytest.approx(12.0, abs=0.03)
    assert trimmed[1].end == 12.6


def test_a_pause_at_the_window_s_start_is_no_part_of_its_first_word() -> None:
    samples = np.random.default_rng(0).standard_normal(64000).astype(np.float32) * 0.01
    samples[16000:] *= 10.0
    [word] = trim_starts([Word(" one", 10.0, 11.5, 1.0)], samples, 10.0, 16000)
    assert word.start == pytest.approx(11.0, abs=0.03)


def test_words_without_sound_or_without_room_stay() -> None:
    silent = Word(" hush", 11.2, 11.8, 1.0)
    short = Word(" a", 11.8, 12.05, 1.0)
    late = Word(" late", 12.0, 12.61, 1.0)  # its sound begins 10 ms before it ends
    sound = bursts((0.5, 1.0), (2.0, 2.04), (2.6, 2.64))
    assert trim_starts([silent, short], sound, 10.0, 16000) == (silent, short)
    assert trim_starts([late], bursts((0.5, 1.0), (2.6, 2.64)), 10.0, 16000) == (late,)
    steady = np.random.default_rng(0).standard_normal(64000).astype(np.float32)
    assert trim_starts([silent], steady, 10.0, 16000) == (silent,)
    assert trim_starts([silent], np.zeros(100, np.float32), 10.0, 16000) == (silent,)
