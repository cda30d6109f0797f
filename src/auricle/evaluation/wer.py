"""Word and character error counts, of single utterances and of whole collections, aligned by rapidfuzz.

What aligns best is not unique; every choice has the same number of errors, and this one counts as jiwer does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from auricle.errors import MissingExtraError, OptionError

Unit = Literal["words", "characters"]
# The columns of what `utterance_counts` returns.
SUBSTITUTIONS, DELETIONS, INSERTIONS, LENGTH = range(4)


@dataclass(frozen=True)
class ErrorCounts:
    """How a collection of hypotheses differs from its references, in words or in characters."""

    substitutions: int
    deletions: int
    insertions: int
    words: int  # of the references; characters where characters are counted

    @property
    def errors(self) -> int:
        """All three kinds together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per word of the references: 0 is perfect, and insertions can bring it above 1.

        Without a single reference word it is 0 if nothing was inserted, and infinite otherwise.
        """
        if self.words:
            return self.errors / self.words
        return float("inf") if self.errors else 0.0


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Count word errors over all pairs; words are what spaces divide, so normalise the texts first.

    An empty reference counts its hypothesis' words as insertions.

    Raises: OptionError for lists of different lengths; MissingExtraError without rapidfuzz.
    """
    return total(utterance_counts(references, hypotheses, "words"))


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Count character errors over all pairs, spaces included, those around a text excepted.

    Raises: OptionError for lists of different lengths; MissingExtraError without rapidfuzz.
    """
    return total(utterance_counts(references, hypotheses, "characters"))


def utterance_counts(references: Sequence[str], hypotheses: Sequence[str], unit: Unit) -> np.ndarray:
    """Return int64 (N, 4): the substitutions, deletions, insertions and the reference's length of each pair.

    Raises: OptionError for lists of different lengths; MissingExtraError without rapidfuzz.
    """
    distance = levenshtein()
    if isinstance(references, str) or isinstance(hypotheses, str) or len(references) != len(hypotheses):
        raise OptionError(
            f"expected two lists of equally many texts, got {_described(references)} and "
            f"{_described(hypotheses)}; pair every reference with its hypothesis"
        )
    counts = np.zeros((len(references), 4), dtype=np.int64)
    for place, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        said, heard = units(reference, unit), units(hypothesis, unit)
        counts[place, LENGTH] = len(said)
        if said == heard:
            continue
        kinds = [tag for tag, _, _ in distance.editops(said, heard).as_list()]
        counts[place, :LENGTH] = kinds.count("replace"), kinds.count("delete"), kinds.count("insert")
    return counts


def units(text: str, unit: Unit) -> list[str] | str:
    """Return what errors are counted in: a text's words, or its characters without the spaces around it."""
    return text.split() if unit == "words" else text.strip()


def total(counts: np.ndarray) -> ErrorCounts:
    """Add up what `utterance_counts` returned."""
    return ErrorCounts(*(int(number) for number in counts.sum(axis=0)))


def levenshtein() -> Any:
    """Return rapidfuzz's alignment of two sequences.

    Raises: MissingExtraError without rapidfuzz.
    """
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError as error:
        raise MissingExtraError('error rates need rapidfuzz: pip install "auricle[evaluate]"') from error
    return Levenshtein


def _described(texts: Sequence[str]) -> str:
    return f"one string {texts!r}" if isinstance(texts, str) else f"{len(texts)} texts"
