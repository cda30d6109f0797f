"""A decoded window as segments, and which of them are believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from auricle.results import Segment, Word
from auricle.speech.whisper_guards import hardly_believed, is_voiced, looping, skip_hallucinations, unheard
from auricle.speech.whisper_options import WhisperOptions
from auricle.speech.whisper_rows import Row
from auricle.speech.whisper_tokens import WhisperTokenizer, WhisperTokens
from auricle.speech.whisper_windows import Decoded, is_repetitive, split_window
from auricle.speech.whisper_words import fit_words, group_words, snap_words, time_words, trim_starts
from auricle.text.tokenizer import N_TIMESTAMPS

REPORTED_S = 1.0  # a shorter span without text is not worth a warning
QUOTED = 60  # characters of a dropped text that its warning shows


@dataclass
class Heard:
    """A window of a row, decoded and divided into segments."""

    row: Row
    decoded: Decoded
    segments: list[Segment]
    spoken: list[list[int]]  # of each segment: where its text tokens are among the decoded ones
    n_used: int  # samples after which the next window begins
    start: list[int]  # the start token, the language and the task

    @property
    def text(self) -> list[int]:
        """All text tokens: neither timestamps nor other special ones."""
        return [self.decoded.generated.tokens[at] for places in self.spoken for at in places]

    def logprobs(self, number: int) -> list[float]:
        """Of one segment's text tokens."""
        return [self.decoded.generated.logprobs[at] for at in self.spoken[number]]


class WindowReader:
    """Turns decoded windows into segments with absolute times."""

    def __init__(self, tokenizer: WhisperTokenizer, tokens: WhisperTokens, step_samples: int, sample_rate: int) -> None:
        self.tokenizer = tokenizer
        self.tokens = tokens
        self.step_samples = step_samples  # that one timestamp token counts
        self.sample_rate = sample_rate

    def read(self, row: Row, decoded: Decoded, start: list[int]) -> Heard:
        """The segments of a row's open window. None begins before the one before it ends."""
        tokens = decoded.generated.tokens
        pieces, follow = split_window(tokens, self.tokens.timestamp_begin)
        n_samples = len(row.window)
        n_used = n_samples if follow is None else min(follow * self.step_samples, n_samples)
        heard = Heard(row, decoded, [], [], n_used, start)
        language_probability = row.language_probability
        if language_probability is None and row.language in self.tokens.languages:
            language_probability = decoded.languages[list(self.tokens.languages).index(row.language)]
        floor = row.start / self.sample_rate
        added = self.tokens.timestamp_begin + N_TIMESTAMPS
        for piece in pieces:
            # Of the tokens that a checkpoint added behind the timestamps some are written, and some are marks.
            spoken = [
                at
                for at in range(piece.begin, piece.end)
                if tokens[at] < self.tokens.eos or (tokens[at] >= added and self.tokenizer.decode([tokens[at]]))
            ]
            probabilities = [math.exp(decoded.generated.logprobs[at]) for at in spoken]
            begin = max(floor, self.seconds(row, piece.first))
            floor = max(begin, self.seconds(row, piece.last))
            segment = Segment(
                text=self.tokenizer.decode(tokens[piece.begin : piece.end]),
                start=begin,
                end=floor,
                confidence=float(np.mean(probabilities)) if probabilities else None,
                language=row.language,
                language_probability=language_probability,
                tokens=tokens[piece.begin : piece.end],
                temperature=decoded.temperature,
                avg_logprob=decoded.avg_logprob,
                compression_ratio=decoded.compression_ratio,
                no_speech_prob=decoded.no_speech_prob,
            )
            heard.segments.append(segment)
            heard.spoken.append(spoken)
        return heard

    def with_words(self, heard: Heard, frames: Sequence[int], options: WhisperOptions) -> None:
        """Give the segments words; `frames` has the onset of each text token, and the end of the last."""
        decoded, row = heard.decoded, heard.row
        voice = row.unit.voice.look() or []
        times = [self.seconds(row, frame) for frame in frames]
        done = 0
        for number, (segment, places) in enumerate(zip(heard.segments, heard.spoken, strict=True)):
            ids = [decoded.generated.tokens[at] for at in places]
            marks = options.prepend_punctuations, options.append_punctuations
            grouped = group_words(ids, self.tokenizer.decode, row.language, *marks)
            probabilities = [math.exp(value) for value in heard.logprobs(number)]
            timed: list[Word] = time_words(grouped, times[done : done + len(ids) + 1], probabilities)
            assert segment.end is not None, "a window's end is always known"
            words = snap_words(fit_words(timed, segment.start, segment.end), voice)
            words = trim_starts(words, row.window, self.seconds(row, 0), self.sample_rate)
            heard.segments[number] = replace(segment, words=words)
            done += len(ids)

    def seconds(self, row: Row, steps: int | None) -> float:
        """The time of a step of the open window; None, and what lies behind its samples, is their end."""
        n_samples = len(row.window)
        within = n_samples if steps is None else min(steps * self.step_samples, n_samples)
        return (row.start + within) / self.sample_rate


def believed(heard: Heard, options: WhisperOptions, sample_rate: int, ends: bool) -> list[Segment]:
    """The segments with text that somebody seems to have said; the others become warnings of the row's part.

    `ends` is whether the recording does within `options.hallucination_silence_threshold` after the window.
    """
    row = heard.row
    n_kept = len(heard.segments)
    threshold = options.hallucination_silence_threshold
    if threshold is not None:
        window = row.start / sample_rate, (row.start + len(row.window)) / sample_rate
        begin = row.unit.start / sample_rate
        skip = skip_hallucinations(heard.segments, threshold, window, ends, row.spoken_until, begin)
        n_kept = skip.n_kept
        if skip.seek is not None:
            n_used = round(skip.seek * sample_rate) - row.start
            heard.n_used = min(max(n_used, 1), len(row.window))
        for segment in heard.segments[n_kept:]:
            _drop(row, "odd words with silence around them were dropped", segment)
    loops = looping(row.part.segments, heard.segments[:n_kept])
    said: list[Segment] = []
    for number, segment in enumerate(heard.segments[:n_kept]):
        if not segment.text.strip():
            continue
        reason = "the same text again, too fast to be spoken, was dropped" if loops[number] else None
        reason = reason or _why_unbelieved(heard, number, options)
        if reason is None:
            said.append(segment)
        else:
            _drop(row, reason, segment)
    return said


def _why_unbelieved(heard: Heard, number: int, options: WhisperOptions) -> str | None:
    """Why a segment was not said; None if it was."""
    segment, voice = heard.segments[number], heard.row.unit.voice
    assert segment.end is not None, "a window's end is always known"
    if not hardly_believed(heard.logprobs(number), heard.decoded, options):
        return None
    if segment.end <= segment.start:
        return "improbable text without any duration was dropped"
    spans = voice.look()
    if spans is not None and not is_voiced(segment.start, segment.end, spans):
        return "improbable text where no voice was detected was dropped"
    return None


def _drop(row: Row, reason: str, segment: Segment) -> None:
    text = segment.text.strip()
    if not text:
        return
    assert segment.end is not None, "a window's end is always known"
    # Where nobody speaks in the whole recording, it is silence or noise.
    kind = "no_speech" if row.unit.voice.look() == [] else "hallucination"
    quoted = text if len(text) <= QUOTED else text[: QUOTED - 1] + "…"
    row.part.warn(kind, f"{reason}: {quoted!r}", segment.start, segment.end)


def report_doubts(heard: Heard, said: Sequence[Segment], options: WhisperOptions, sample_rate: int) -> None:
    """Warn of text that repeats itself or is improbable, and of sound without text."""
    row, decoded = heard.row, heard.decoded
    start, end = row.start / sample_rate, (row.start + heard.n_used) / sample_rate
    if not said:
        if heard.n_used > REPORTED_S * sample_rate and not heard.text:
            row.part.warn("no_speech", "the decoder wrote no text", start, end)
        return
    # Where the next window begins before this one's end, what was cut off is heard again.
    if not decoded.generated.ended and heard.n_used == len(row.window):
        row.part.warn("truncated", "the text was cut off at the most tokens that a window may have", start, end)
    for first, last in unheard(heard.segments, start, end, row.unit.voice.spans or []):
        row.part.warn("unheard", "voice was detected here, and the decoder wrote no text for it", first, last)
    if decoded.loosened:
        row.part.warn("repetition", "the text repeated itself until repetitions were ruled out", start, end)
    elif not decoded.trusted and is_repetitive(decoded, options):
        row.part.warn("repetition", "the text repeats itself at every temperature", start, end)
    elif not decoded.trusted:
        row.part.warn("doubtful", "the decoder finds its text improbable at every temperature", start, end)
    elif options.logprob_threshold is not None:
        for number, segment in enumerate(heard.segments):
            logprobs = heard.logprobs(number)
            if segment in said and np.mean(logprobs) < options.logprob_threshold:
                row.part.warn("doubtful", "the decoder finds this improbable", segment.start, segment.end or end)
