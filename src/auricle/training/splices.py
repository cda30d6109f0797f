"""New sentences out of recorded words: runs of words of one voice, cut where they end and joined to other ones.

A small network knows the sentences of a few hours by heart; words in ever other company have to be heard.

Source: aligned data augmentation, arXiv 2104.01393, here with runs of words of the same voice and none made up.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from auricle.errors import CheckpointError
from auricle.training.store import Utterance

LEAST_WORDS, MOST_WORDS = 2, 7  # in a run
LEAST_SHARE = 0.7  # of the length of the recording whose place a made one takes
LEAST_POOL = 3  # recordings of a voice that are worth cutting
_TRIES = 40


@dataclass(frozen=True)
class Piece:
    """Whole words of one utterance, and where they are: shares of its length."""

    utterance: Utterance
    start: float
    end: float
    text: str

    def of(self, n: int) -> slice:
        """Where the piece is among `n` steps of the whole utterance."""
        return slice(round(self.start * n), round(self.end * n))


class WordPlaces:
    """Where words begin, by recording, as `align` wrote it: (words + 1) shares of the length, from 0 to 1."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise CheckpointError(f"{path} is absent; run the command `align` first")
        self._places: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8"))

    def __contains__(self, source: str) -> bool:
        return source in self._places

    def __getitem__(self, source: str) -> list[float]:
        return self._places[source]


class Splicer:
    """Makes utterances of pieces of one voice that were disturbed, or not, alike."""

    def __init__(self, utterances: Iterable[Utterance], places: WordPlaces, share: float) -> None:
        self.places, self.share = places, share
        self._pools: dict[tuple[str, str, bool], list[Utterance]] = defaultdict(list)
        for utterance in utterances:
            if utterance.source in places and len(places[utterance.source]) > 2:
                self._pools[_kind(utterance)].append(utterance)

    def __call__(self, utterance: Utterance, generator: torch.Generator) -> Sequence[Piece]:
        """The utterance as it is, or, for `share` of them, pieces that together are at most as long."""
        whole = [Piece(utterance, 0.0, 1.0, utterance.text)]
        pool = self._pools.get(_kind(utterance), [])
        if float(torch.rand(1, generator=generator)) >= self.share or len(pool) < LEAST_POOL:
            return whole
        pieces: list[Piece] = []
        left = utterance.n_frames
        for _ in range(_TRIES):
            piece = self._draw(pool, generator)
            n_frames = _length(piece)
            if 0 < n_frames <= left:
                pieces.append(piece)
                left -= n_frames
            if left <= (1 - LEAST_SHARE) * utterance.n_frames:
                return pieces
        return whole

    def _draw(self, pool: Sequence[Utterance], generator: torch.Generator) -> Piece:
        chosen, count, first = torch.rand(3, generator=generator).tolist()
        utterance = pool[int(chosen * len(pool))]
        places, words = self.places[utterance.source], utterance.text.split()
        n_words = min(len(words), LEAST_WORDS + int(count * (MOST_WORDS - LEAST_WORDS + 1)))
        start = int(first * (len(words) - n_words + 1))
        text = " ".join(words[start : start + n_words])
        return Piece(utterance, places[start], places[start + n_words], text)


def _kind(utterance: Utterance) -> tuple[str, str, bool]:
    return utterance.corpus, utterance.speaker, utterance.variant == "clean"


def _length(piece: Piece) -> int:
    where = piece.of(piece.utterance.n_frames)
    return where.stop - where.start
