"""From a transcript to subtitles that can be read: what is shown together, on which lines, and how long.

Words are grouped by dynamic programming: every stretch of words that fits on the screen costs what it breaks
of the rules, and the cheapest division of the whole speech wins. Times come last: each subtitle begins when its
first word is heard and stays as long as reading takes, the next one allowing.

Sources: Netflix Timed Text Style Guide, General Requirements, Subtitle Timing Guidelines and English Template
(42 characters, 2 lines, 17 characters per second, 5/6 to 7 seconds, 2 frames between subtitles, gaps below half a
second closed); BBC Subtitle Guidelines 1.2, sections 3 to 5 (sentences apart, breaks at natural points, at most
1.5 seconds after speech).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from auricle.errors import OptionError, nearest
from auricle.results import Transcript, Word
from auricle.speech.phrases import Break, break_between
from auricle.speech.timed_words import TimedWord, plain, timed_words, width

SPEAKERS = ("auto", "dash", "label", "none")

# Two frames of film.
TWO_FRAMES_S = 2 / 24
# What a subtitle may begin after its first word, so that the one before can be read.
LONGEST_DELAY_S = 0.5
# A longer gap would take more time than many subtitles have, and each would come later than the one before.
LONGEST_GAP_S = 1.0
# A subtitle is shown for a frame of film whatever happens.
SHORTEST_S = 1 / 24

# The costs of the search, against each other only: of a subtitle, of ending one or a line at each `Break` ...
CUE_COST = 4.0
BREAK_COSTS = {Break.SENTENCE: 0.0, Break.CLAUSE: 3.0, Break.PHRASE: 6.0, Break.PLAIN: 10.0, Break.BOUND: 18.0}
# ... less this share of it where there is a pause of half a second, or where the recognizer ended a segment,
PAUSE_RELIEF, EASY_PAUSE_S, SEGMENT_RELIEF = 0.7, 0.5, 0.4
# of a sentence's end within a subtitle, and of each second of silence beyond a fifth,
SENTENCE_WITHIN, SILENCE_WITHIN, UNHEARD_PAUSE_S = 3.0, 10.0, 0.2
# of a second line, of a first line that is longer than the second, of lines that differ by a whole line, of a
# subtitle that leaves its line empty,
SECOND_LINE, TOP_HEAVY, UNBALANCED, EMPTY = 1.0, 1.0, 4.0, 4.0
# of a line that is read twice as fast as the rules say, and of a subtitle that lasts no time.
TOO_FAST, TOO_SHORT = 8.0, 16.0


@dataclass(frozen=True)
class SubtitleRules:
    """What a subtitle may be. Times in seconds; the defaults are Netflix's for English.

    The BBC's are 37 characters and about 15 characters per second; for Chinese and Japanese, whose characters
    count 2, Netflix has lines of 32 and 26.
    """

    max_line_length: int = 42  # columns; only a single longer word may pass it
    max_lines: int = 2
    max_chars_per_second: float = 17.0  # kept where the pauses after speech allow it
    min_duration: float = 5 / 6  # kept where the next words leave time
    max_duration: float = 7.0
    min_gap: float = TWO_FRAMES_S  # between two subtitles
    chain_gap: float = 0.5  # smaller gaps are closed to min_gap
    max_pause: float = 1.5  # a longer silence between two words ends the subtitle
    max_linger: float = 1.5  # what a subtitle may stay after its last word
    wide_characters: bool = True  # East Asian wide characters count 2
    # How another speaker's or channel's words begin, one of SPEAKERS; auto: with the name, or a channel's with a dash.
    speakers: str = "auto"

    def __post_init__(self) -> None:
        for name in ("max_line_length", "max_lines"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{name}={value!r}; expected a whole number from 1 on")
        for name in ("max_chars_per_second", "min_duration", "max_duration"):
            _expect_seconds(name, getattr(self, name), above_zero=True)
        for name in ("min_gap", "chain_gap", "max_pause", "max_linger"):
            _expect_seconds(name, getattr(self, name), above_zero=False)
        if self.min_gap > LONGEST_GAP_S:
            raise OptionError(f"min_gap={self.min_gap:g}; expected at most {LONGEST_GAP_S:g} s, the usual is 0.083")
        if self.max_duration < SHORTEST_S:
            raise OptionError(f"max_duration={self.max_duration:g}; expected a frame of film at least, 0.042 s")
        if self.min_duration > self.max_duration:
            raise OptionError(
                f"min_duration={self.min_duration:g} is above max_duration={self.max_duration:g}; raise the latter"
            )
        if self.speakers not in SPEAKERS:
            raise OptionError(
                f"speakers={self.speakers!r}; expected {', '.join(SPEAKERS)}{nearest(str(self.speakers), SPEAKERS)}"
            )


def _expect_seconds(name: str, value: object, above_zero: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (above_zero and value == 0):  # type: ignore[operator]
        raise OptionError(f"{name}={value!r}; expected a finite number {'above 0' if above_zero else 'from 0 on'}")


@dataclass(frozen=True)
class Cue:
    """What is shown from `start` to `end`, in seconds.

    A word begins with a space where one is written before it, at the beginning of a line, too.
    """

    start: float
    end: float
    rows: tuple[tuple[Word, ...], ...]  # the words of each line
    prefix: str = ""  # a dash or a name before the first line
    channel: int | None = None
    speaker: str | None = None

    @property
    def words(self) -> tuple[Word, ...]:
        """All words, in order."""
        return tuple(word for row in self.rows for word in row)

    @property
    def lines(self) -> tuple[str, ...]:
        """The text, line by line."""
        lines = ["".join(word.text for word in row).strip() for row in self.rows]
        return (self.prefix + lines[0], *lines[1:])

    @property
    def text(self) -> str:
        """The text on one line."""
        parts = ["".join(word.text for word in row) for row in self.rows]
        return self.prefix + "".join(parts).strip()


def shape(transcript: Transcript, rules: SubtitleRules | None = None) -> list[Cue]:
    """Divide a transcript into subtitles that never overlap; every word is in exactly one.

    Rules that speech leaves no room for, such as the reading speed of a fast speaker, are broken as little as
    possible; line lengths, gaps, order and the longest duration always hold, words longer than a line apart.
    """
    rules = rules or SubtitleRules()
    timed = timed_words(transcript)
    many = len({word.voice for word in timed}) > 1
    runs = list(_runs(timed, rules.max_pause))
    cues = [
        cue
        for run, after in zip(runs, [*runs[1:], None], strict=False)
        for cue in _divide(run, _next_start(run, after), rules, _prefix(run[0], rules) if many else "")
    ]
    cues.sort(key=lambda cue: cue.start)
    return _time(_without_repeated_prefixes(cues), rules, transcript.duration)


def _runs(timed: list[TimedWord], max_pause: float) -> Iterator[list[TimedWord]]:
    """Give the stretches of words that no long pause and no change of speaker or channel divides."""
    run: list[TimedWord] = []
    for word in timed:
        if run and (word.voice != run[-1].voice or word.word.start - run[-1].word.end > max_pause):
            yield run
            run = []
        run.append(word)
    if run:
        yield run


def _next_start(run: list[TimedWord], after: list[TimedWord] | None) -> float:
    """Return when the words after a run begin; who speaks at the same time leaves it its own time."""
    if after is None or after[0].word.start < run[-1].word.end:
        return math.inf
    return after[0].word.start


def _prefix(word: TimedWord, rules: SubtitleRules) -> str:
    is_named = word.speaker is not None
    if rules.speakers == "dash" or (rules.speakers == "auto" and not is_named and word.channel is not None):
        return "- "
    if is_named and rules.speakers in ("auto", "label"):
        return name_prefix(word.speaker)
    if rules.speakers == "label" and word.channel is not None:
        return f"[{word.channel + 1}] "
    return ""


def name_prefix(speaker: str | None) -> str:
    """Return what stands before a speaker's words where nothing else says whose they are."""
    return "" if speaker is None else f"{plain(speaker)}: "


def _without_repeated_prefixes(cues: list[Cue]) -> list[Cue]:
    return [
        replace(cue, prefix="") if (cue.channel, cue.speaker) == (before.channel, before.speaker) else cue
        for before, cue in zip([Cue(0, 0, (), channel=-1), *cues], cues, strict=False)
    ]


def _divide(run: list[TimedWord], next_start: float, rules: SubtitleRules, prefix: str) -> list[Cue]:
    """Find the cheapest division of a run; the times of the result are those of its words."""
    costs = _Costs(run, next_start, rules, width(prefix, rules.wide_characters))
    best = [0.0] + [math.inf] * len(run)  # of the words before each place
    came_from: list[tuple[int, Rows]] = [(0, ())] * (len(run) + 1)
    for first in range(len(run)):
        for end in range(first + 1, len(run) + 1):
            found = costs.cue(first, end)
            if found is None:
                break
            cost, rows = found
            if best[first] + cost < best[end]:
                best[end] = best[first] + cost
                came_from[end] = (first, rows)
    cues = []
    end = len(run)
    while end:
        first, rows = came_from[end]
        words = tuple(tuple(timed.word for timed in run[row_first:row_end]) for row_first, row_end in rows)
        cues.append(Cue(run[first].word.start, run[end - 1].word.end, words, prefix, *run[0].voice))
        end = first
    return cues[::-1]


# The words of each line, [first, end).
Rows = tuple[tuple[int, int], ...]


class _Costs:
    """What showing some words of a run together breaks of the rules."""

    def __init__(self, run: list[TimedWord], next_start: float, rules: SubtitleRules, prefix_width: int) -> None:
        self.rules, self.prefix_width = rules, prefix_width
        self.starts = [timed.word.start for timed in run] + [next_start]
        self.ends = [timed.word.end for timed in run]
        widths = [width(timed.word.text, rules.wide_characters) for timed in run]
        self.before = [0]  # columns before each place
        for columns in widths:
            self.before.append(self.before[-1] + columns)
        self.leading = [int(timed.word.text.startswith(" ")) for timed in run]
        self.breaks = [Break.SENTENCE] + [
            break_between(timed.word.text, after.word.text, timed.language) for timed, after in pairwise(run)
        ]
        silences = [0.0] + [max(0.0, after.word.start - timed.word.end) for timed, after in pairwise(run)]
        self.break_costs = [0.0] * (len(run) + 1)
        self.within = [0.0, 0.0]  # what the breaks before each place cost if they are none
        for place in range(1, len(run)):
            relief = PAUSE_RELIEF * min(1.0, silences[place] / EASY_PAUSE_S)
            if run[place - 1].ends_segment:
                relief = max(relief, SEGMENT_RELIEF)
            self.break_costs[place] = BREAK_COSTS[self.breaks[place]] * (1 - relief)
            silence = SILENCE_WITHIN * max(0.0, silences[place] - UNHEARD_PAUSE_S)
            self.within.append(self.within[-1] + silence + SENTENCE_WITHIN * (self.breaks[place] is Break.SENTENCE))
        self.rows = lru_cache(maxsize=4096)(self._rows)

    def columns(self, first: int, end: int) -> int:
        """Return how wide the words are on one line."""
        return self.before[end] - self.before[first] - self.leading[first]

    def cue(self, first: int, end: int) -> tuple[float, Rows] | None:
        """Return the cost of a subtitle of these words and its lines; None where it is forbidden."""
        rules = self.rules
        if end - first > 1 and self.ends[end - 1] - self.starts[first] > rules.max_duration:
            return None
        found = self.rows(first, end, rules.max_lines, self.prefix_width)
        if found is None:
            return None
        cost, rows = found
        columns = self.columns(first, end) + self.prefix_width
        cost += CUE_COST + self.break_costs[end] + self._time_cost(first, end, columns)
        cost += EMPTY * max(0.0, 1 - columns / rules.max_line_length) ** 2
        return cost + self.within[end] - self.within[first + 1], rows

    def _time_cost(self, first: int, end: int, columns: int) -> float:
        start, spoken = self.starts[first], self.ends[end - 1]
        needed = max(self.rules.min_duration, columns / self.rules.max_chars_per_second)
        shown = min(max(spoken, start + needed), self.starts[end] - self.rules.min_gap, spoken + self.rules.max_linger)
        duration = max(shown - start, SHORTEST_S)
        too_fast = columns / duration / self.rules.max_chars_per_second - 1
        too_short = 1 - duration / self.rules.min_duration
        # By the line, since many subtitles that are too fast are no better than few.
        fast = TOO_FAST * min(max(0.0, too_fast), 4.0) * columns / self.rules.max_line_length
        return fast + TOO_SHORT * max(0.0, too_short)

    def _rows(self, first: int, end: int, n_rows: int, taken: int) -> tuple[float, Rows] | None:
        """Return the cheapest lines, one wherever one is enough; `taken` columns of the first are in use."""
        room = self.rules.max_line_length
        if self.columns(first, end) + taken <= room or end - first == 1:
            return 0.0, ((first, end),)
        if n_rows == 1:
            return None
        best: tuple[float, Rows] | None = None
        for place in range(first + 1, end):
            top = self.columns(first, place) + taken
            if top > room and place - first > 1:
                break
            rest = self.rows(place, end, n_rows - 1, 0)
            if rest is None:
                continue
            below = self.columns(place, end) / len(rest[1])
            cost = rest[0] + SECOND_LINE + BREAK_COSTS[self.breaks[place]] / 2
            cost += UNBALANCED * abs(top - below) / room + TOP_HEAVY * (top > below)
            if best is None or cost < best[0]:
                best = cost, ((first, place), *rest[1])
        return best


def _time(cues: list[Cue], rules: SubtitleRules, duration: float | None) -> list[Cue]:
    """Show each cue from its first word until it is read, or until the next one."""
    shown: list[Cue] = []
    free = 0.0  # from when on nothing is shown
    for place, cue in enumerate(cues):
        start = max(cue.start, free)
        following: Sequence[Cue] = cues[place + 1 : place + 3]
        end = min(_wanted_end(cue, start, rules), _latest_end(cue, start, following, rules))
        if duration is not None:
            end = min(end, max(duration, cue.end))
        if following and end < following[0].start - rules.min_gap < end + rules.chain_gap - rules.min_gap:
            end = min(following[0].start - rules.min_gap, start + rules.max_duration)
        end = max(end, start + SHORTEST_S)
        shown.append(replace(cue, start=start, end=end))
        free = end + rules.min_gap
    return shown


def _needed(cue: Cue, rules: SubtitleRules) -> float:
    columns = sum(width(line, rules.wide_characters) for line in cue.lines)
    return max(rules.min_duration, columns / rules.max_chars_per_second)


def _wanted_end(cue: Cue, start: float, rules: SubtitleRules) -> float:
    read = min(start + _needed(cue, rules), max(cue.end, start) + rules.max_linger)
    return min(max(cue.end, read), start + rules.max_duration)


def _latest_end(cue: Cue, start: float, following: Sequence[Cue], rules: SubtitleRules) -> float:
    """Return when the next cue needs the screen.

    It waits a moment for one that would be too short; where two channels speak at once, they share the time by what
    reading them takes.
    """
    if not following:
        return math.inf
    after = following[0]
    latest = after.start - rules.min_gap
    if cue.end > after.start:
        until = max(cue.end, after.end)
        until = min(until, following[1].start) if len(following) > 1 else until
        need, need_after = _needed(cue, rules), _needed(after, rules)
        latest = max(latest, start + (until - start) * need / (need + need_after) - rules.min_gap)
    return max(latest, min(start + rules.min_duration, after.start + LONGEST_DELAY_S - rules.min_gap))
