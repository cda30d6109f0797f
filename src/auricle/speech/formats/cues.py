"""What a format shows and when: subtitles or the recognizer's own pieces, in whole ticks of the format's clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from auricle.results import Transcript, Word
from auricle.speech.formats.options import WriteOptions
from auricle.speech.subtitles import Cue, SubtitleRules, name_prefix, shape
from auricle.speech.timed_words import plain, segment_end, segment_words

WORD_JOINER = "\u2060"
# No two players agree on how a brace is escaped in SubStation's commands: the full-width ones are text everywhere,
# and a word joiner, which has no width, keeps a backslash from being a command.
WITHOUT_COMMANDS = str.maketrans({"{": "｛", "}": "｝", "\\": "\\" + WORD_JOINER})


@dataclass(frozen=True)
class Tick:
    """A cue with its times in ticks; `end` > `start` >= 0."""

    cue: Cue
    start: int
    end: int


def chosen_cues(transcript: Transcript, options: WriteOptions, names_apart: bool = False) -> list[Cue]:
    """Return shaped subtitles, or one cue for each piece of the unit that was asked for.

    `names_apart` is for formats with a place of their own for speakers' names: the text has none then.
    """
    rules = options.rules or SubtitleRules()
    if names_apart and rules.speakers == "auto" and has_speakers(transcript):
        rules = replace(rules, speakers="none")
    if options.unit == "none":
        return shape(transcript, rules)
    found = list(pieces(transcript, options.unit))
    if names_apart or options.unit != "segment":
        return found
    return [replace(cue, prefix=name_prefix(cue.speaker)) for cue in found]


def has_speakers(transcript: Transcript) -> bool:
    """Say whether speakers were told apart."""
    return any(segment.speaker is not None for segment in transcript.segments)


def pieces(transcript: Transcript, unit: str) -> Iterator[Cue]:
    """Give the segments, words or characters that have any text, each on one line."""
    for segment in transcript.segments:
        if unit == "segment":
            words = tuple(segment_words(segment, transcript.duration))
            if words:
                yield Cue(
                    segment.start,
                    segment_end(segment, transcript.duration),
                    (words,),
                    "",
                    segment.channel,
                    segment.speaker,
                )
            continue
        for part in segment.words if unit == "word" else segment.characters:
            text = plain(part.text)
            if text:
                word = Word(text, part.start, part.end, getattr(part, "confidence", 1.0))
                yield Cue(part.start, max(part.end, part.start), ((word,),), "", segment.channel, segment.speaker)


def ticked(cues: list[Cue], per_second: int) -> list[Tick]:
    """Round times to ticks so that what does not overlap in seconds does not overlap in ticks.

    Each cue lasts a tick at least; what begins within it is put off.
    """
    ticks: list[Tick] = []
    for cue in cues:
        start = to_ticks(cue.start, per_second)
        if ticks and ticks[-1].cue.end <= cue.start:
            start = max(start, ticks[-1].end)
        ticks.append(Tick(cue, start, max(to_ticks(cue.end, per_second), start + 1)))
    return ticks


def word_ticks(tick: Tick, per_second: int) -> list[list[tuple[str, int, int]]]:
    """Return text, start and end of each word, line by line: monotonic and within the cue."""
    earliest = tick.start
    rows = []
    for row in tick.cue.rows:
        timed = []
        for word in row:
            start = min(max(to_ticks(word.start, per_second), earliest), tick.end)
            end = min(max(to_ticks(word.end, per_second), start), tick.end)
            timed.append((word.text, start, end))
            earliest = end
        rows.append(timed)
    return rows


def to_ticks(seconds: float, per_second: int) -> int:
    """Round seconds to whole ticks, and what lies before the recording to its start."""
    return max(0, round(seconds * per_second))


def clock(seconds: float, point: str) -> str:
    """Write seconds as HH:MM:SS and milliseconds after `point`; hours may have more digits."""
    return clock_ms(to_ticks(seconds, 1000), point)


def clock_ms(milliseconds: int, point: str) -> str:
    """Write milliseconds as HH:MM:SS and milliseconds after `point`; hours may have more digits."""
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"
