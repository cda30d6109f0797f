"""A transcript as a TextGrid, the annotation file of Praat, in its long text form.

Source: Praat manual, "TextGrid file formats", section 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from auricle.results import Character, Segment, Transcript, Word
from auricle.speech.timed_words import plain

Interval = tuple[float, float, str]


def textgrid(transcript: Transcript, characters: bool = False) -> str:
    """Return tiers of segments and words, of each speaker's segments, and of characters on request.

    Each tier covers the whole recording. What takes less than a millisecond has no interval of its own in one: its
    text follows that of the one before.
    """
    end = transcript.duration or 0.0
    for segment in transcript.segments:
        end = max(end, segment.start if segment.end is None else segment.end)
    end = max(round(end, 3), 0.001)
    tiers: list[tuple[str, Iterable[Segment | Word | Character]]] = [
        ("segments", transcript.segments),
        ("words", transcript.words),
    ]
    names = dict.fromkeys(segment.speaker for segment in transcript.segments if segment.speaker)
    for name in names:
        tiers.append((name, [segment for segment in transcript.segments if segment.speaker == name]))
    if characters:
        letters = (letter for segment in transcript.segments for letter in segment.characters)
        tiers.append(("characters", (letter for letter in letters if letter.text.strip())))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.3f}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, parts) in enumerate(tiers, start=1):
        lines.append(f"    item [{number}]:")
        lines += [f"        {line}" for line in _tier(name, tile(parts, end), end)]
    return "\n".join(lines) + "\n"


def tile(parts: Iterable[Segment | Word | Character], end: float) -> list[Interval]:
    """Intervals without gap or overlap from 0 to `end`, to the millisecond; silence has no text."""
    intervals: list[Interval] = []
    at = 0.0
    for part in parts:
        start = min(max(round(part.start, 3), at), end)
        until = min(round(end if part.end is None else part.end, 3), end)
        if until <= start:
            if intervals and intervals[-1][2]:
                intervals[-1] = (*intervals[-1][:2], f"{intervals[-1][2]} {part.text}")
                continue
            until = min(start + 0.001, end)
            if until <= start:
                continue
        if start > at:
            intervals.append((at, start, ""))
        intervals.append((start, until, part.text))
        at = until
    if at < end:
        intervals.append((at, end, ""))
    return intervals


def _tier(name: str, intervals: list[Interval], end: float) -> Iterator[str]:
    yield 'class = "IntervalTier"'
    quoted_name = plain(name).replace('"', '""')
    yield f'name = "{quoted_name}"'
    yield "xmin = 0"
    yield f"xmax = {end:.3f}"
    yield f"intervals: size = {len(intervals)}"
    for number, (start, until, text) in enumerate(intervals, start=1):
        quoted = plain(text).replace('"', '""')
        yield f"intervals [{number}]:"
        yield f"    xmin = {start:.3f}"
        yield f"    xmax = {until:.3f}"
        yield f'    text = "{quoted}"'
