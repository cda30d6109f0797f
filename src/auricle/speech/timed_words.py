"""Every word of a transcript with its times, whatever the recognizer gave: words, or only segments.

A segment's text is what counts: words are looked up in it, so that its spaces and punctuation are kept and
nothing that is written is lost. What no word covers gets its times by the share of its characters in the
time that is left for it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from auricle.results import Segment, Transcript, Word

# A word is looked for this many characters ahead of where it should be; farther on it would be another one.
LOOKAHEAD = 24

_CJK = r"[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_OPENING = r"[(\[{«‹“‘„‚「『（［｛〈《【〔¿¡]"
# Marks that repeat, lengthen or close the character before them never begin a piece (JIS X 4051, line breaks).
_CLINGING = r"[々ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶゝゞヽヾ]"
_WRITTEN = re.compile(r"\S+")
_IDEOGRAPH = re.compile(_CJK)
_PIECE = re.compile(
    rf"{_OPENING}*(?:{_CJK}{_CLINGING}*(?:(?!{_CJK}|{_OPENING})\W)*|(?:(?!{_CJK}|{_OPENING}).)+)|{_OPENING}+"
)


@dataclass(frozen=True)
class TimedWord:
    """A word whose text begins with a space where one is written before it, and with none elsewhere."""

    word: Word
    channel: int | None
    language: str | None
    ends_segment: bool
    speaker: str | None = None

    @property
    def voice(self) -> tuple[int | None, str | None]:
        """Return whose word it is: the channel's and the speaker's."""
        return self.channel, self.speaker


def timed_words(transcript: Transcript) -> list[TimedWord]:
    """Give the words of all segments by the segments' starts; within a segment no word starts before another's."""
    timed = []
    for segment in sorted(transcript.segments, key=lambda segment: segment.start):
        words = segment_words(segment, transcript.duration)
        for place, word in enumerate(words, start=1):
            language = segment.language or transcript.language
            timed.append(TimedWord(word, segment.channel, language, place == len(words), segment.speaker))
    return timed


def segment_words(segment: Segment, duration: float | None = None) -> list[Word]:
    """Return the words that together write the segment's text, with monotonic times.

    `duration` of the recording, in seconds, is the end of a segment that has none.
    """
    text = plain(segment.text)
    pieces = _merge_marks(text, list(_pieces(text, segment.words)))
    _fill_times(pieces, segment.start, segment_end(segment, duration))
    words: list[Word] = []
    earliest = 0.0
    for piece in pieces:
        spaced = piece.first == 0 or text[piece.first - 1] == " "
        start = max(piece.start or 0.0, earliest)
        confidence = piece.confidence if piece.confidence is not None else segment.confidence or 0.0
        written = (" " if spaced else "") + text[piece.first : piece.end_place]
        words.append(Word(written, start, max(piece.end or 0.0, start), confidence))
        earliest = start
    return words


def segment_end(segment: Segment, duration: float | None) -> float:
    """Return when a segment ends: the recording's end where it has no own, and never before it starts."""
    end = segment.end if segment.end is not None else duration
    return max(segment.start, end if end is not None else segment.start)


def plain(text: str) -> str:
    """Return text on one line: single spaces, no characters that control terminals or are forbidden in XML."""
    visible = "".join(
        character
        for character in text
        if character.isspace()
        or (unicodedata.category(character) not in ("Cc", "Cs") and character not in "\ufffe\uffff")
    )
    return " ".join(visible.split())


def width(text: str, wide_characters: bool = True) -> int:
    """Count the columns of a text: 2 for East Asian wide characters if asked for, 0 for what joins another.

    Source: Unicode Standard Annex 11, East Asian Width.
    """
    columns = 0
    for character in text:
        if unicodedata.category(character) in ("Mn", "Me", "Cf"):
            continue
        columns += 2 if wide_characters and unicodedata.east_asian_width(character) in "WF" else 1
    return columns


@dataclass
class _Piece:
    """A part of the text, [first, end_place), with times if a word gave them."""

    first: int
    end_place: int
    start: float | None = None
    end: float | None = None
    confidence: float | None = None


def _pieces(text: str, words: tuple[Word, ...]) -> Iterator[_Piece]:
    """Give the words where they are written, and everything between them cut at spaces."""
    place = 0
    for word in words:
        sought = plain(word.text)
        if not sought:
            continue
        found = text.find(sought, place, place + LOOKAHEAD + len(sought))
        if found < 0:
            continue
        yield from _unheard(text, place, found)
        place = found + len(sought)
        yield _Piece(found, place, word.start, word.end, word.confidence)
    yield from _unheard(text, place, len(text))


def _unheard(text: str, first: int, end_place: int) -> Iterator[_Piece]:
    for written in _WRITTEN.finditer(text, first, end_place):
        # Where no spaces are written, a line may end after every character.
        pattern = _PIECE if _IDEOGRAPH.search(written.group()) else _WRITTEN
        for piece in pattern.finditer(text, written.start(), written.end()):
            yield _Piece(piece.start(), piece.end())


def _merge_marks(text: str, pieces: list[_Piece]) -> list[_Piece]:
    """Join punctuation that no word brought along to the word that it is written at."""
    merged: list[_Piece] = []
    for piece in pieces:
        before = merged[-1] if merged else None
        if before is not None and before.end_place == piece.first:
            marks = text[piece.first : piece.end_place]
            if piece.start is None and not any(map(str.isalnum, marks)) and not re.fullmatch(f"{_OPENING}+", marks):
                before.end_place = piece.end_place
                continue
            if before.start is None and not any(map(str.isalnum, text[before.first : before.end_place])):
                piece.first = before.first
                merged.pop()
        merged.append(piece)
    return merged


def _fill_times(pieces: list[_Piece], start: float, end: float) -> None:
    """Give untimed pieces, run by run, the time between their timed neighbours, by characters."""
    place = 0
    while place < len(pieces):
        if pieces[place].start is not None:
            place += 1
            continue
        stop = next((i for i in range(place, len(pieces)) if pieces[i].start is not None), len(pieces))
        since = pieces[place - 1].end if place else start
        until = pieces[stop].start if stop < len(pieces) else end
        assert since is not None
        assert until is not None
        shares = [piece.end_place - piece.first for piece in pieces[place:stop]]
        per_character = max(until - since, 0.0) / sum(shares)
        for piece, share in zip(pieces[place:stop], shares, strict=True):
            piece.start, piece.end = since, since + share * per_character
            since = piece.end
        place = stop
