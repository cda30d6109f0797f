"""Placed words back into the passages that they come from: segments, interpolated times, warnings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from auricle.results import Character, Segment, Transcript, Warning, Word
from auricle.text.passages import Passage

SHOWN = 6  # words of a warning
MOST_LOST = 0.5  # of the words; with more lost the text seems to be another's


@dataclass(frozen=True)
class Placed:
    """A word in seconds; `edges` are the times between its characters, its start and end included."""

    start: float
    end: float
    confidence: float
    edges: tuple[float, ...]


def make_transcript(
    passages: Sequence[Passage],
    placed: Sequence[Placed | None],
    language: str,
    duration: float,
    missing: Collection[str] = (),
) -> Transcript:
    """Return passages as segments; words without a place get one between their neighbours.

    `missing` are the letters that the vocabulary cannot write, for the warnings.
    """
    words = [word for passage in passages for word in passage.words]
    whole = interpolate(words, placed, duration)
    segments = []
    first = 0
    for passage in passages:
        end = first + len(passage.words)
        sure = [one.confidence for one in placed[first:end] if one is not None]
        segments.append(
            Segment(
                text=passage.text,
                start=whole[first].start,
                end=whole[end - 1].end,
                words=tuple(
                    Word(word, one.start, one.end, one.confidence)
                    for word, one in zip(passage.words, whole[first:end], strict=True)
                ),
                characters=tuple(_characters(passage, whole[first:end])),
                confidence=sum(sure) / len(sure) if sure else 0.0,
                language=language,
            )
        )
        first = end
    text = " ".join(passage.text for passage in passages)
    warnings = _warnings(words, placed, whole, missing)
    return Transcript(text, tuple(segments), language=language, duration=duration, warnings=warnings)


def interpolate(words: Sequence[str], placed: Sequence[Placed | None], duration: float) -> list[Placed]:
    """Give words without a place their share of the time between their neighbours, by their letters."""
    whole: list[Placed] = []
    for is_missing, group in groupby(range(len(words)), key=lambda place: placed[place] is None):
        places = list(group)
        if not is_missing:
            whole += [one for place in places if (one := placed[place]) is not None]
            continue
        start = whole[-1].end if whole else 0.0
        after = placed[places[-1] + 1] if places[-1] + 1 < len(words) else None
        end = max(start, duration if after is None else after.start)
        sizes = [sum(map(str.isalnum, words[place])) for place in places]
        total, done = sum(sizes) or 1, 0
        for place, size in zip(places, sizes, strict=True):
            begin, done = start + (end - start) * done / total, done + size
            until = start + (end - start) * done / total
            n = len(words[place])
            edges = tuple(begin + (until - begin) * part / n for part in range(n + 1))
            whole.append(Placed(begin, until, 0.0, edges))
    return whole


def _characters(passage: Passage, placed: Sequence[Placed]) -> list[Character]:
    """The characters of a passage, spaces included: joined they are its text."""
    found: list[Character] = []
    at = 0
    for word, one in zip(passage.words, placed, strict=True):
        # Only spaces stand between words.
        if passage.text[at] == " " != word[0]:
            found.append(Character(" ", found[-1].end if found else one.start, one.start))
            at += 1
        found += [Character(letter, *times) for letter, times in zip(word, pairwise(one.edges), strict=True)]
        at += len(word)
    return found


def _warnings(
    words: Sequence[str], placed: Sequence[Placed | None], whole: Sequence[Placed], missing: Collection[str]
) -> tuple[Warning, ...]:
    """One warning for each run of words that were not found; signs that nobody says are none."""
    is_lost = [one is None and any(map(str.isalnum, word)) for one, word in zip(placed, words, strict=True)]
    found = []
    n_lost, n_said = sum(is_lost), sum(any(map(str.isalnum, word)) for word in words)
    if n_lost > MOST_LOST * n_said:
        message = f"only {n_said - n_lost} of {n_said} words were found in the sound; check that it has this text"
        found.append(Warning("unaligned", message, whole[0].start, whole[-1].end))
    for lost, group in groupby(range(len(words)), key=is_lost.__getitem__):
        places = list(group)
        if not lost:
            continue
        shown = [words[place] for place in places]
        if len(shown) > SHOWN:
            shown = [*shown[: SHOWN // 2], "...", *shown[-SHOWN // 2 :]]
        count = f"{len(places)} words were" if len(places) > 1 else "a word was"
        unwritable = sorted({letter for letter in missing if any(letter in words[place] for place in places)})
        why = f"; the model's vocabulary cannot write {' '.join(unwritable)!r}" if unwritable else ""
        message = f"{count} not found in the sound, and the times are interpolated: {' '.join(shown)}{why}"
        found.append(Warning("unaligned", message, whole[places[0]].start, whole[places[-1]].end))
    return tuple(found)
