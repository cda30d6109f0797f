"""Punctuation and capitals for transcripts of models that write neither: English, from the words and the pauses.

The words themselves, their times and their order stay as they are; marks are put behind words, and first letters are
capitalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from auricle.errors import OptionError
from auricle.models.punctuation import ENDS, MARKS, N_SPECIAL, PunctuationTagger, features_of
from auricle.results import Character, Segment, Transcript, Word
from auricle.text import Tokenizer

# Words that the network reads at once, and how many of them it only reads to know what surrounds the others.
WINDOW, CONTEXT = 400, 50
ALWAYS_CAPITAL = frozenset({"i", "i'm", "i'll", "i'd", "i've"})
WRITTEN_MARKS = frozenset(".,?!;:")


def check_unwritten(tokenizer: Tokenizer) -> None:
    """Raise OptionError for a vocabulary that has marks of its own, or writes no words with spaces between them."""
    pieces = [tokenizer.piece(id) for id in range(tokenizer.vocab_size)]
    own = sorted({letter for piece in pieces for letter in piece} & WRITTEN_MARKS)
    if own:
        raise OptionError(
            f"punctuate=True is for models that write no punctuation, and this one writes {' '.join(own)}; leave it out"
        )
    if not any(" " in piece for piece in pieces):
        raise OptionError("punctuate=True is for English, and this model writes no spaces; leave it out")


@dataclass(frozen=True)
class Written:
    """What is written of one word."""

    mark: str  # one of MARKS
    capital: bool


class Punctuator:
    """Decides on marks and capitals, by a network and the words that it knows."""

    def __init__(self, tagger: PunctuationTagger, words: Sequence[str]) -> None:
        self.tagger = tagger
        self.places = {word: place for place, word in enumerate(words, start=N_SPECIAL)}

    def __call__(self, transcript: Transcript) -> Transcript:
        """Return the transcript with marks and capitals in its text, segments, words and characters."""
        words = transcript.words
        if not words:
            return transcript
        pauses: list[float | None] = [max(0.0, after.start - before.end) for before, after in pairwise(words)]
        marked = self.written([word.text for word in words], [*pauses, None])
        segments, done = [], 0
        for segment in transcript.segments:
            here = marked[done : done + len(segment.words)]
            segments.append(_segment(segment, here))
            done += len(segment.words)
        text = _text(transcript.text, words, marked)
        return replace(transcript, text=text, segments=tuple(segments))

    def written(self, words: Sequence[str], pauses: Sequence[float | None]) -> list[Written]:
        """Return what is written of each word of a whole recording, given the seconds of pause after it.

        The last word ends a sentence.
        """
        marks, capitals = self._scores([word.lower() for word in words], pauses)
        marks[-1, [mark for mark in range(len(MARKS)) if mark not in ENDS]] = -torch.inf
        found: list[Written] = []
        begins = True
        for word, mark, capital in zip(words, marks.argmax(-1).tolist(), capitals.tolist(), strict=True):
            found.append(Written(MARKS[mark], begins or capital > 0 or word.lower() in ALWAYS_CAPITAL))
            begins = mark in ENDS
        return found

    @torch.no_grad()
    def _scores(self, words: Sequence[str], pauses: Sequence[float | None]) -> tuple[Tensor, Tensor]:
        """Return the scores of marks (T, M) and of capitals (T,), window by window."""
        features = torch.tensor(features_of(words, pauses, self.places, self.tagger.config))  # (T, 4)
        marks, capitals = torch.empty(len(words), len(MARKS)), torch.empty(len(words))
        for first in range(0, len(words), WINDOW - 2 * CONTEXT):
            start, end = max(0, first - CONTEXT), min(len(words), first + WINDOW - CONTEXT)
            of_marks, of_capitals = self.tagger(features[None, start:end])
            marks[first:end], capitals[first:end] = of_marks[0, first - start :], of_capitals[0, first - start :]
        return marks, capitals


def _segment(segment: Segment, marked: Sequence[Written]) -> Segment:
    words = tuple(replace(word, text=_word(word.text, one)) for word, one in zip(segment.words, marked, strict=True))
    return replace(
        segment,
        text=_text(segment.text, segment.words, marked),
        words=words,
        characters=_characters(segment, marked),
    )


def _word(text: str, written: Written) -> str:
    text = text.lower()
    if written.capital:
        is_irish = text.startswith("o'") and text != "o'clock"
        text = "O'" + text[2:].capitalize() if is_irish else text[:1].upper() + text[1:]
    return text + written.mark


def _text(text: str, words: Sequence[Word], marked: Sequence[Written]) -> str:
    """Return a text with its words as they are written; what stands between them stays."""
    pieces, done = [], 0
    for (start, end), word, one in zip(_spans(text, words), words, marked, strict=True):
        pieces += [text[done:start], _word(word.text, one)]
        done = end
    return "".join([*pieces, text[done:]])


def _characters(segment: Segment, marked: Sequence[Written]) -> tuple[Character, ...]:
    """Return the characters as they are written; a mark takes no time."""
    if not segment.characters:
        return ()
    letters = "".join(one.text for one in segment.characters)
    places = [place for place, one in enumerate(segment.characters) for _ in one.text]
    found: list[Character] = []
    done = 0
    for (start, end), word, one in zip(_spans(letters, segment.words), segment.words, marked, strict=True):
        first, last = places[start], places[end - 1]
        found += segment.characters[done:first]
        written = _word(word.text, one)
        at = 0
        for character in segment.characters[first : last + 1]:
            found.append(replace(character, text=written[at : at + len(character.text)]))
            at += len(character.text)
        if one.mark:
            moment = segment.characters[last].end
            found.append(Character(one.mark, moment, moment))
        done = last + 1
    return (*found, *segment.characters[done:])


def _spans(text: str, words: Sequence[Word]) -> list[tuple[int, int]]:
    """Return where each word lies in a text that holds them in order."""
    spans, done = [], 0
    for word in words:
        start = text.index(word.text, done)
        done = start + len(word.text)
        spans.append((start, done))
    return spans
