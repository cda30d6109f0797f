"""What nobody said: which segments are not believed, from their words, their times and where voice was heard.

Pure functions on segments. Times are float seconds from the recording's start.

Source: openai/whisper transcribe.py, `hallucination_silence_threshold`, for the rule about silence around
odd words, but for its jump to the window's end, which loses text that was not closed; the others are our own.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auricle.results import Segment, Word
from auricle.speech.whisper_windows import Decoded, Thresholds, is_repetitive

# A segment is hardly believed half of the way to the threshold at which its window would be refused.
HARDLY = 0.5

# openai/whisper transcribe.py, word_anomaly_score and is_segment_anomaly.
RARE, SHORT_S, SHORT_WEIGHT, LONG_S = 0.15, 0.133, 15.0, 2.0
LOOKED_AT, ODD_SCORE = 8, 3.0
EDGE_S = 2.0  # silence at a window's edges counts as longer than any threshold
PUNCTUATION = frozenset(string.punctuation + "“¿「『”、。，！？：」』")

UNHEARD_S = 2.0  # of voice between segments: a breath or a cough is shorter
LOOP = 4  # the same text so many times in a row is a loop ...
FASTEST = 40.0  # ... where it is faster than this many characters a second, twice the fastest speech


def hardly_believed(logprobs: Sequence[float], decoded: Decoded, thresholds: Thresholds) -> bool:
    """Whether a segment, by its tokens' log-probabilities and its window, is likely to be made up.

    Never with the thresholds off. It decides nothing alone: only together with a sign that nobody spoke.
    """
    least, silence = thresholds.logprob_threshold, thresholds.no_speech_threshold
    improbable = least is not None and len(logprobs) > 0 and float(np.mean(logprobs)) < HARDLY * least
    silent = silence is not None and decoded.no_speech_prob > HARDLY * silence
    return improbable or silent or not decoded.trusted or is_repetitive(decoded, thresholds)


def is_voiced(start: float, end: float, voice: Sequence[tuple[float, float]]) -> bool:
    """Whether a span touches any of the spans in which voice was detected."""
    return any((first < end and start < last) or first <= start == end <= last for first, last in voice)


def voiced_seconds(start: float, end: float, voice: Sequence[tuple[float, float]]) -> float:
    """How much of a span is voice."""
    return sum(max(0.0, min(end, last) - max(start, first)) for first, last in voice)


def unheard(
    segments: Sequence[Segment], start: float, end: float, voice: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Where between `start` and `end` at least `UNHEARD_S` of voice lie in no segment with text."""
    found: list[tuple[float, float]] = []
    covered = [(one.start, end if one.end is None else one.end) for one in segments if one.text.strip()]
    at = start
    for first, last in [*covered, (end, end)]:
        spans = [(max(one, at), min(other, first)) for one, other in voice if one < first and other > at]
        if spans and sum(other - one for one, other in spans) >= UNHEARD_S:
            found.append((spans[0][0], spans[-1][1]))
        at = max(at, last)
    return found


def looping(before: Sequence[Segment], found: Sequence[Segment]) -> list[bool]:
    """Which of the segments `found` repeat their neighbours, faster than anybody speaks; `before` came before.

    Of a run of at least `LOOP` segments with the same text those that are too fast are marked, but not the
    run's first.
    """
    segments = [*before[-LOOP:], *found]
    texts = [segment.text.strip().casefold() for segment in segments]
    marked = [False] * len(segments)
    begin = 0
    for end in range(1, len(segments) + 1):
        if end < len(segments) and texts[end] == texts[begin]:
            continue
        if end - begin >= LOOP and texts[begin]:
            for at in range(begin + 1, end):
                marked[at] = _is_too_fast(segments[at])
        begin = end
    return marked[len(segments) - len(found) :]


def _is_too_fast(segment: Segment) -> bool:
    return len(segment.text.strip()) > FASTEST * ((segment.end or segment.start) - segment.start)


@dataclass(frozen=True)
class Skip:
    """What remains of a window after its odd words were looked at: the first `n_kept` segments, heard on from `seek`.

    `seek` is None where it stays as it was; otherwise seconds.
    """

    n_kept: int
    seek: float | None = None


def skip_hallucinations(
    segments: Sequence[Segment],
    threshold: float,
    window: tuple[float, float],
    ends: bool,
    spoken_until: float,
    begin: float,
) -> Skip:
    """Find segments of odd words with silence around them, longer than `threshold` seconds.

    `window` is the span that was decoded, `ends` whether the recording does within `threshold` after it,
    `spoken_until` where the last word before the window ended, `begin` where the recording began.
    """
    start, end = window
    timed = [segment for segment in segments if segment.words]
    if timed and is_odd(timed[0]) and timed[0].start - start > threshold:
        return Skip(0, timed[0].start)
    last_end = spoken_until
    for at, segment in enumerate(segments):
        if not segment.words:
            continue
        assert segment.end is not None, "a window's end is always known"
        if is_odd(segment):
            later = next((one for one in segments[at + 1 :] if one.words), None)
            next_start = later.words[0].start if later is not None else end
            before = (
                segment.start - last_end > threshold
                or segment.start - begin < threshold
                or segment.start - start < EDGE_S
            )
            after = (
                next_start - segment.end > threshold
                or (later is not None and is_odd(later))
                or end - segment.end < EDGE_S
            )
            if before and after:
                rest = ends and end - segment.end < threshold
                return Skip(at, end if rest else max(start + 1.0, segment.start))
        last_end = segment.end
    return Skip(len(segments))


def is_odd(segment: Segment) -> bool:
    """Whether a segment's words are too rare, too short or too long to be speech."""
    words = [word for word in segment.words if word.text.strip() not in PUNCTUATION][:LOOKED_AT]
    score = sum(_oddness(word) for word in words)
    return bool(segment.words) and (score >= ODD_SCORE or score + 0.01 >= len(words))


def _oddness(word: Word) -> float:
    duration = word.end - word.start
    rare = 1.0 if word.confidence < RARE else 0.0
    return rare + SHORT_WEIGHT * max(0.0, SHORT_S - duration) + max(0.0, duration - LONG_S)
