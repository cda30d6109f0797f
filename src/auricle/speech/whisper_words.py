"""Whisper's tokens as timed words: grouped by the language's rules, punctuation merged, times fitted.

Source: openai/whisper tokenizer.py (split_to_word_tokens) and timing.py (add_word_timestamps).
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from auricle.results import Word
from auricle.speech.languages import UNSPACED

REPLACEMENT = "�"  # how a decoder writes bytes that are not yet a character
SENTENCE_ENDS = frozenset(".。!！?？")
LONGEST_TYPICAL = 0.7  # seconds: the median word is never taken to be longer
LONGEST_PAUSE = 1.0  # seconds: a word that lasts through a longer pause was given the pause by mistake
PAUSE_LEVEL = 0.5  # between a window's quiet and its loud frames, in decibels: below it nobody speaks
LEAST_CONTRAST = 10.0  # decibels between them: in steadier sound no pause can be told
TRIMMED_S = 0.3  # a shorter word has no room for a pause
LEAST_LEFT_S = 0.06  # a trimmed word is never shorter
LOUDNESS_FRAME_S = 0.02
STRETCH = 2.0  # a word at a sentence's border longer than this many medians has swallowed the pause

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class WordTokens:
    """A word and the range of its tokens among the text tokens it was made from."""

    text: str
    begin: int
    end: int


def group_words(
    ids: Sequence[int], decode: Decode, language: str | None, prepended: str, appended: str
) -> list[WordTokens]:
    """Group text tokens into words with their leading space, and merge punctuation into its neighbour."""
    characters = split_characters(ids, decode)
    words = characters if language in UNSPACED else join_at_spaces(characters)
    return merge_punctuation(words, prepended, appended)


def split_characters(ids: Sequence[int], decode: Decode) -> list[WordTokens]:
    """The shortest runs of tokens that decode to whole characters."""
    whole = decode(ids)
    groups: list[WordTokens] = []
    begin = length = 0
    for end in range(1, len(ids) + 1):
        text = decode(ids[begin:end])
        at = text.find(REPLACEMENT)
        # A replacement character that the whole text has too was said, or will never become a character.
        if at < 0 or whole[length + at : length + at + 1] == REPLACEMENT:
            groups.append(WordTokens(text, begin, end))
            length += len(text)
            begin = end
    if begin < len(ids):
        groups.append(WordTokens(decode(ids[begin:]), begin, len(ids)))
    return groups


def join_at_spaces(groups: Sequence[WordTokens]) -> list[WordTokens]:
    """Join what a space or a punctuation mark does not begin to what stands before it."""
    words: list[WordTokens] = []
    for group in groups:
        starts = group.text.startswith(" ") or group.text.strip() in string.punctuation
        if starts or not words:
            words.append(group)
        else:
            words[-1] = WordTokens(words[-1].text + group.text, words[-1].begin, group.end)
    return words


def merge_punctuation(words: Sequence[WordTokens], prepended: str, appended: str) -> list[WordTokens]:
    """Give opening marks to the next word and closing marks to the one before."""
    forward: list[WordTokens] = []
    held: WordTokens | None = None
    for word in words:
        if held is not None:
            word = WordTokens(held.text + word.text, held.begin, word.end)
        opening = word.text.startswith(" ") and word.text.strip() in prepended and word.text.strip()
        held = word if opening else None
        if held is None:
            forward.append(word)
    if held is not None:
        forward.append(held)
    merged: list[WordTokens] = []
    for word in forward:
        if merged and word.text in appended and not merged[-1].text.endswith(" "):
            merged[-1] = WordTokens(merged[-1].text + word.text, merged[-1].begin, word.end)
        else:
            merged.append(word)
    return merged


def time_words(words: Sequence[WordTokens], onsets: Sequence[float], probabilities: Sequence[float]) -> list[Word]:
    """Words with the seconds at which their first token, and the token after their last, begin.

    `onsets` has one entry per token and one for the end of the last; `probabilities` one per token.
    """
    return [
        Word(
            text=word.text,
            start=onsets[word.begin],
            end=onsets[word.end],
            confidence=float(np.mean(probabilities[word.begin : word.end])),
        )
        for word in words
    ]


def fit_words(words: Sequence[Word], start: float, end: float) -> tuple[Word, ...]:
    """Take pauses out of the words that the warping gave them to.

    A token lasts until the next one begins, so that a pause counts as a part of a word: words at a
    sentence's border are cut to twice the usual length, and the first and the last to the segment's own
    times where they overlap.
    """
    durations = [word.end - word.start for word in words if word.end > word.start]
    longest = STRETCH * min(LONGEST_TYPICAL, float(np.median(durations))) if durations else 0.0
    fitted = list(words)
    for at, word in enumerate(fitted):
        if word.end - word.start <= longest:
            continue
        if word.text[-1:] in SENTENCE_ENDS:
            fitted[at] = replace(word, end=word.start + longest)
        elif at > 0 and fitted[at - 1].text[-1:] in SENTENCE_ENDS:
            fitted[at] = replace(word, start=word.end - longest)
    if fitted and fitted[0].start < start < fitted[0].end:
        fitted[0] = replace(fitted[0], start=start)
    if fitted and fitted[-1].start < end < fitted[-1].end:
        fitted[-1] = replace(fitted[-1], end=end)
    assert all(one.end <= other.start for one, other in pairwise(fitted)), "onsets never decrease"
    return tuple(fitted)


def snap_words(words: Sequence[Word], voice: Sequence[tuple[float, float]]) -> tuple[Word, ...]:
    """Take pauses between the spans of `voice`, in seconds, out of words that begin or end in them.

    Only pauses longer than a second count. A word with voice on both sides of one keeps the longer side. A
    word that lies in a pause altogether stays: it may be too quiet for the detector.
    """
    pauses = [(one[1], other[0]) for one, other in pairwise(voice) if other[0] - one[1] > LONGEST_PAUSE]
    snapped = list(words)
    for at, word in enumerate(snapped):
        start, end = word.start, word.end
        for silent, heard in pauses:
            before, after = silent - start, end - heard
            if end <= silent or start >= heard or (before <= 0 and after <= 0):
                continue
            if before >= after:
                end = silent
            else:
                start = heard
        snapped[at] = replace(word, start=start, end=end)
    return tuple(snapped)


def trim_starts(words: Sequence[Word], samples: np.ndarray, start: float, sample_rate: int) -> tuple[Word, ...]:
    """Take the pause before a word out of it, where its sound begins later than the warping says.

    The decoder looks for a word as soon as the one before it is over, so that a pause counts as its
    beginning. `samples` are the window's, from `start` seconds on.
    """
    size = round(LOUDNESS_FRAME_S * sample_rate)
    power = np.square(samples[: len(samples) // size * size].astype(np.float64)).reshape(-1, size).mean(1)
    if len(power) < 2:
        return tuple(words)
    # The ends are repeated: zeros would be louder than anything.
    levels = np.pad(10 * np.log10(power + 1e-10), 1, "edge")
    loudness = np.convolve(levels, np.ones(3) / 3, "valid")  # decibels
    quiet, loud = np.quantile(loudness, (0.05, 0.95))
    if loud - quiet < LEAST_CONTRAST:
        return tuple(words)
    spoken = loudness > quiet + PAUSE_LEVEL * (loud - quiet)
    trimmed = list(words)
    for at, word in enumerate(words):
        first = max(0, int((word.start - start) / LOUDNESS_FRAME_S))
        last = max(0, math.ceil((word.end - start) / LOUDNESS_FRAME_S))
        if word.end - word.start < TRIMMED_S or not spoken[first:last].any():
            continue
        onset = start + (first + int(spoken[first:last].argmax())) * LOUDNESS_FRAME_S
        if onset > word.start and word.end - onset >= LEAST_LEFT_S:
            trimmed[at] = replace(word, start=onset)
    return tuple(trimmed)
