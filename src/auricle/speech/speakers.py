"""Who said which word: the turns of a diarization laid over the words of a transcript.

Where in time a word lies says who speaks, and what is around it says how far to believe that: recognizers and
diarizations are each some tenths of a second off, and nobody changes in the middle of a phrase for one word. So the
words get their speakers together, by the cheapest path (Viterbi): a word costs the seconds of it in which its speaker
is silent, and a change of speaker costs much inside a phrase and next to nothing after a sentence or in a pause.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from auricle.errors import OptionError
from auricle.results import Segment, SpeakerTurn, Transcript, Word
from auricle.speech.channels import divided_at
from auricle.speech.phrases import Break, break_between
from auricle.speech.timed_words import segment_words

# The evidence of one word, in seconds: a long one may have a pause in it, and a short one still is one.
LEAST_S, MOST_S = 0.08, 0.6
# A word without any length is looked for in this time after its start.
POINT_S = 0.02
# Where two speak at once the longer turn wins, by less than anything else decides.
SHORTER_TURN = 0.02
# Nobody said a word that nobody is near to; to be the nearest is worth more.
NOBODY, NOBODY_IN_A_TURN = 0.9, 2.0


@dataclass(frozen=True)
class SpeakerRules:
    """How words get their speakers; costs are seconds of words that lie in another's turn."""

    nearest_s: float = 2.0  # a word outside all turns belongs to the nearest one that is no farther away
    change: float = 0.8  # of a change inside a phrase: about three words must speak for it
    # The part of it that is left after what ends before the change; of a pause, once it is as long as a breath.
    after_sentence: float = 0.06
    after_clause: float = 0.5
    after_segment: float = 0.6
    after_pause: float = 0.08
    heard_pause_s: float = 0.08  # words of one phrase are no closer
    easy_pause_s: float = 0.25

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise OptionError(f"{name}={value!r}; expected a number from 0 on")
        if self.easy_pause_s <= self.heard_pause_s:
            raise OptionError(f"easy_pause_s={self.easy_pause_s:g}; expected more than heard_pause_s")


def assign_speakers(
    transcript: Transcript,
    turns: Iterable[SpeakerTurn],
    rules: SpeakerRules | None = None,
    channel: int | None = None,
) -> Transcript:
    """Return the transcript with a speaker on every word and segment; its text stays to the letter.

    A segment is divided where the speaker changes. A word that is farther than `nearest_s` from all turns, with its
    whole phrase, has none. Segments without words get those that their text has, spread over their time, and stay
    without. `channel` limits it to the segments of one channel; the others stay as they are.

    >>> words = (Word("hi", 0.0, 0.3, 0.9), Word("hello", 1.0, 1.4, 0.9))
    >>> said = assign_speakers(
    ...     Transcript("hi hello", (Segment("hi hello", 0.0, 1.4, words),)),
    ...     [SpeakerTurn("Ann", 0.0, 0.5), SpeakerTurn("Bob", 0.9, 1.5)],
    ... )
    >>> [(segment.speaker, segment.text) for segment in said.segments]
    [('Ann', 'hi'), ('Bob', 'hello')]
    """
    rules = rules or SpeakerRules()
    voices = _voices(turns)
    chosen = [
        place
        for place, segment in enumerate(transcript.segments)
        if segment.text.strip() and (channel is None or segment.channel == channel)
    ]
    if not voices or not chosen:
        return transcript
    chosen.sort(key=lambda place: transcript.segments[place].start)
    timed = {place: _words_of(transcript.segments[place], transcript.duration, voices) for place in chosen}
    languages = [transcript.segments[place].language or transcript.language for place in chosen]
    said = iter(_path(list(zip(timed.values(), languages, strict=True)), voices, rules))
    parts: dict[int, list[Segment]] = {}
    for place in chosen:
        names = [next(said) for _ in timed[place]]
        parts[place] = _divided(transcript.segments[place], timed[place], names)
    segments = [part for place, one in enumerate(transcript.segments) for part in parts.get(place, [one])]
    return replace(transcript, segments=tuple(segments))


def _divided(segment: Segment, words: Sequence[Word], names: Sequence[str | None]) -> list[Segment]:
    """Divide a segment where the names of its words change; each part has its speaker."""
    if not words:
        return [segment]
    has_own = bool(segment.words)
    named = tuple(replace(word, speaker=name) for word, name in zip(words, names, strict=True))
    cuts = [place for place, (before, after) in enumerate(pairwise(names), start=1) if before != after]
    bounds = [0, *cuts]
    found = []
    for first, part in zip(bounds, divided_at(replace(segment, words=named), cuts), strict=True):
        own = part if has_own else replace(part, words=(), confidence=segment.confidence)
        found.append(replace(own, speaker=names[first]))
    return found


def _words_of(segment: Segment, duration: float | None, voices: Sequence[_Voice]) -> tuple[Word, ...]:
    """Return a segment's words; of one that has none, those of its text, spread over the time in which anybody speaks.

    Speech is as fast before a pause as behind it, so that pauses between turns count as no time.
    """
    if segment.words:
        return segment.words
    words = segment_words(segment, duration)
    start = segment.start
    end = max([word.end for word in words], default=start)
    spoken = _union([span for voice in voices for span in voice.within(start, end)])
    total = sum(until - since for since, until in spoken)
    if not words or total <= 0 or end <= start:
        return tuple(words)
    scale = total / (end - start)
    return tuple(_placed(word, (word.start - start) * scale, (word.end - start) * scale, spoken) for word in words)


def _placed(word: Word, first: float, end: float, spoken: Sequence[tuple[float, float]]) -> Word:
    """Put a word that lasts from `first` to `end` of what is spoken into the stretch that has most of it."""
    best, before = (-1.0, word), 0.0
    for since, until in spoken:
        own = max(first, before), min(end, before + until - since)
        if own[1] - own[0] > best[0]:
            offset = since - before
            best = own[1] - own[0], replace(word, start=own[0] + offset, end=own[1] + offset)
        before += until - since
    return best[1]


class _Voice:
    """When one speaker speaks."""

    def __init__(self, speaker: str, turns: Sequence[SpeakerTurn]) -> None:
        self.speaker = speaker
        self.spans = _union([(turn.start, turn.end) for turn in turns])
        self._starts = [start for start, _ in self.spans]
        self._before = [0.0, *accumulate(end - start for start, end in self.spans)]  # seconds before each span

    def _until(self, time: float) -> float:
        """Return the seconds of speech before a time."""
        place = bisect.bisect_right(self._starts, time) - 1
        if place < 0:
            return 0.0
        start, end = self.spans[place]
        return self._before[place] + min(time, end) - start

    def overlap(self, start: float, end: float) -> float:
        """Return the seconds of speech in a span."""
        return self._until(end) - self._until(start)

    def distance(self, start: float, end: float) -> float:
        """Return how far the nearest speech is from a span that holds none, in seconds."""
        after = bisect.bisect_left(self._starts, end)
        until = self.spans[after][0] - end if after < len(self.spans) else math.inf
        since = start - self.spans[after - 1][1] if after else math.inf
        return max(0.0, min(since, until))

    def length(self, start: float, end: float) -> float:
        """Return the length of the longest turn that touches a span, in seconds."""
        place = max(0, bisect.bisect_right(self._starts, start) - 1)
        longest = 0.0
        while place < len(self.spans) and self.spans[place][0] < end:
            if self.spans[place][1] > start:
                longest = max(longest, self.spans[place][1] - self.spans[place][0])
            place += 1
        return longest

    def within(self, start: float, end: float) -> list[tuple[float, float]]:
        """Return what lies in a span, cut to it."""
        first = max(0, bisect.bisect_right(self._starts, start) - 1)
        found = []
        for since, until in self.spans[first:]:
            if since >= end:
                break
            if until > start:
                found.append((max(since, start), min(until, end)))
        return found


def _voices(turns: Iterable[SpeakerTurn]) -> list[_Voice]:
    """Gather the turns of each speaker, by who speaks first."""
    found: dict[str, list[SpeakerTurn]] = {}
    for turn in sorted(turns, key=lambda turn: turn.start):
        if turn.end > turn.start:
            found.setdefault(turn.speaker, []).append(turn)
    return [_Voice(speaker, own) for speaker, own in found.items()]


def _union(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join spans that touch or overlap."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def _path(
    spoken: Sequence[tuple[Sequence[Word], str | None]], voices: Sequence[_Voice], rules: SpeakerRules
) -> list[str | None]:
    """Return the speaker of every word of segments, which have words and a language, on the cheapest path."""
    words = [(word, language) for own, language in spoken for word in own]
    ends = set(accumulate(len(own) for own, _ in spoken))
    if not words:
        return []
    costs = _word_costs(words[0][0], voices, rules)
    came_from: list[list[int]] = []
    for place, ((before, language), (word, _)) in enumerate(pairwise(words), start=1):
        change = _change_cost(before, word, language, place in ends, rules)
        cheapest = min(range(len(costs)), key=costs.__getitem__)
        came: list[int] = []
        arrived: list[float] = []
        for own, (cost, of_word) in enumerate(zip(costs, _word_costs(word, voices, rules), strict=True)):
            changes = costs[cheapest] + change < cost
            came.append(cheapest if changes else own)
            arrived.append((costs[cheapest] + change if changes else cost) + of_word)
        costs = arrived
        came_from.append(came)
    state = min(range(len(costs)), key=costs.__getitem__)
    path = [state]
    for came in reversed(came_from):
        state = came[state]
        path.append(state)
    return [voices[state].speaker if state < len(voices) else None for state in reversed(path)]


def _word_costs(word: Word, voices: Sequence[_Voice], rules: SpeakerRules) -> list[float]:
    """Return what a word costs as each one's, and as nobody's: the seconds of it that are not theirs."""
    start, end = word.start, max(word.end, word.start + POINT_S)
    weight = min(max(end - start, LEAST_S), MOST_S)
    overlaps = [voice.overlap(start, end) for voice in voices]
    if max(overlaps) <= 0:
        far = [min(1.0, voice.distance(start, end) / max(rules.nearest_s, POINT_S)) for voice in voices]
        return [*(weight * one for one in far), weight * NOBODY]
    lengths = [voice.length(start, end) if found else 0.0 for voice, found in zip(voices, overlaps, strict=True)]
    longest = max(lengths)
    return [
        *(
            weight * (1 - found / (end - start) + SHORTER_TURN * (1 - length / longest))
            for found, length in zip(overlaps, lengths, strict=True)
        ),
        weight * NOBODY_IN_A_TURN,
    ]


def _change_cost(before: Word, after: Word, language: str | None, ends_segment: bool, rules: SpeakerRules) -> float:
    """Return what a change of speaker between two words costs."""
    between = break_between(before.text, after.text, language)
    part = {Break.SENTENCE: rules.after_sentence, Break.CLAUSE: rules.after_clause}.get(between, 1.0)
    if ends_segment:
        part = min(part, rules.after_segment)
    pause = (after.start - before.end - rules.heard_pause_s) / (rules.easy_pause_s - rules.heard_pause_s)
    pause = min(max(pause, 0.0), 1.0)
    return rules.change * min(part, 1 - pause * (1 - rules.after_pause))
