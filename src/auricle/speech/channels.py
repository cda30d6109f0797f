"""Transcripts of single channels as one: the turns of a call in the order in which they were said.

A segment is divided where its speaker pauses and somebody on another channel begins to speak, so that an answer
stands between the parts of a question. Within a channel nothing ever changes places.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import replace
from heapq import merge
from itertools import pairwise

from auricle.results import Segment, Transcript, Warning

PAUSE_S = 1.0  # a longer silence between two words lets another channel's turn in


def merge_channels(transcripts: Sequence[Transcript], channels: Sequence[int]) -> Transcript:
    """Merge the transcripts of `channels` of one recording; segments carry their channel.

    The text has a line for each turn, which lasts until another channel speaks, without labels. The language is
    that of the channel with most speech. Warnings name their channel, unless all channels have the same one.
    """
    turns_of = [[_from_first_word(segment) for segment in one.segments] for one in transcripts]
    starts = [sorted(segment.start for segment in segments) for segments in turns_of]
    labelled: list[list[tuple[float, Segment, str]]] = []
    for row, (transcript, channel) in enumerate(zip(transcripts, channels, strict=True)):
        others = sorted(start for other, found in enumerate(starts) if other != row for start in found)
        joint = _joint(transcript)
        # A segment never stands before the one it follows on its channel, whatever its time says.
        latest = 0.0
        turns = []
        for segment in turns_of[row]:
            for part in divided(segment, others):
                latest = max(latest, part.start)
                turns.append((latest, replace(part, channel=channel), joint))
        labelled.append(turns)
    ordered = list(merge(*labelled, key=lambda turn: turn[0]))
    loudest = max(transcripts, key=_speech)
    return replace(
        loudest,
        text=_text([(segment, joint) for _, segment, joint in ordered]),
        segments=tuple(segment for _, segment, _ in ordered),
        duration=max((one.duration for one in transcripts if one.duration is not None), default=None),
        warnings=_warnings(transcripts, channels),
    )


def _from_first_word(segment: Segment) -> Segment:
    """Let a segment begin with its first word: Whisper's may begin with the silence before it, seconds long."""
    return replace(segment, start=max(segment.start, segment.words[0].start)) if segment.words else segment


def divided(segment: Segment, starts: Sequence[float]) -> list[Segment]:
    """Divide a segment at pauses above `PAUSE_S` in which one of `starts`, sorted seconds, lies.

    A part has its own words, characters, times and confidence; the token ids, which nothing assigns to words,
    stay with the first part. A segment without words stays whole.
    """
    words = segment.words
    cuts = [
        place
        for place, (before, after) in enumerate(pairwise(words), start=1)
        if after.start - before.end > PAUSE_S and _any_between(starts, before.start, after.start)
    ]
    return divided_at(segment, cuts)


def divided_at(segment: Segment, cuts: Sequence[int]) -> list[Segment]:
    """Divide a segment before the words of these numbers, growing and above 0; what `divided` says holds."""
    if not cuts:
        return [segment]
    words = segment.words
    texts = _texts(segment, cuts)
    bounds = [0, *cuts, len(words)]
    parts = []
    for text, (first, end) in zip(texts, pairwise(bounds), strict=True):
        own = words[first:end]
        since = own[0].start if first else float("-inf")
        until = words[end].start if end < len(words) else float("inf")
        parts.append(
            replace(
                segment,
                text=text,
                start=own[0].start if first else segment.start,
                end=own[-1].end if end < len(words) else segment.end,
                words=own,
                characters=tuple(one for one in segment.characters if since <= one.start < until),
                confidence=sum(word.confidence for word in own) / len(own),
                tokens=() if first else segment.tokens,
            )
        )
    return parts


def _any_between(starts: Sequence[float], first: float, end: float) -> bool:
    place = bisect.bisect_left(starts, first)
    return place < len(starts) and starts[place] < end


def _texts(segment: Segment, cuts: Sequence[int]) -> list[str]:
    """Cut the text before the words of these numbers; where a word is not found in it, join words instead."""
    text, place, begins = segment.text, 0, []
    for number, word in enumerate(segment.words):
        at = text.find(word.text, place)
        if at < 0:
            bounds = [0, *cuts, len(segment.words)]
            return [" ".join(one.text.strip() for one in segment.words[a:b]) for a, b in pairwise(bounds)]
        if number in cuts:
            begins.append(at)
        place = at + len(word.text)
    return [text[a:b].rstrip() for a, b in pairwise([0, *begins, len(text)])]


def _joint(transcript: Transcript) -> str:
    """What stands between segments: nothing where their texts begin with their own space, as Whisper's do."""
    joined = "".join(segment.text for segment in transcript.segments)
    return "" if joined.strip() == transcript.text.strip() else " "


def _text(turns: Sequence[tuple[Segment, str]]) -> str:
    """Join turns: lines where the channel changes, within a channel as its own transcript is joined."""
    lines: list[str] = []
    before: int | None = None
    for segment, joint in turns:
        if lines and segment.channel == before:
            lines[-1] += joint + segment.text
        else:
            lines.append(segment.text)
        before = segment.channel
    return "\n".join(line.strip() for line in lines)


def _speech(transcript: Transcript) -> float:
    return sum((segment.end or segment.start) - segment.start for segment in transcript.segments)


def _warnings(transcripts: Sequence[Transcript], channels: Sequence[int]) -> tuple[Warning, ...]:
    """All warnings by their start, those without one first."""
    found: dict[Warning, set[int]] = {}
    for channel, transcript in zip(channels, transcripts, strict=True):
        for warning in transcript.warnings:
            found.setdefault(warning, set()).add(channel)
    named = [
        warning
        if len(of) == len(channels)
        else replace(warning, message=f"channel {' and '.join(map(str, sorted(of)))}: {warning.message}")
        for warning, of in found.items()
    ]
    return tuple(sorted(named, key=lambda warning: -1.0 if warning.start is None else warning.start))
