"""Word and character error counts of whole collections, aligned by jiwer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auricle.errors import MissingExtraError, OptionError


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

    Raises: OptionError for lists of different lengths; MissingExtraError without jiwer.
    """
    return _counts(references, hypotheses, "words")


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Count character errors over all pairs, spaces included.

    Raises: OptionError for lists of different lengths; MissingExtraError without jiwer.
    """
    return _counts(references, hypotheses, "characters")


def _counts(references: Sequence[str], hypotheses: Sequence[str], unit: str) -> ErrorCounts:
    jiwer = _jiwer()
    if isinstance(references, str) or isinstance(hypotheses, str) or len(references) != len(hypotheses):
        raise OptionError(
            f"expected two lists of equally many texts, got {_described(references)} and "
            f"{_described(hypotheses)}; pair every reference with its hypothesis"
        )
    process = jiwer.process_words if unit == "words" else jiwer.process_characters
    # jiwer refuses empty references; all that can be wrong with them is inserted.
    pairs = list(zip(references, hypotheses, strict=True))
    spoken = [(reference, hypothesis) for reference, hypothesis in pairs if reference.split()]
    silent = [hypothesis for reference, hypothesis in pairs if not reference.split()]
    inserted = sum(len(text.split()) if unit == "words" else len(text.strip()) for text in silent)
    if not spoken:
        return ErrorCounts(0, 0, inserted, 0)
    found = process([reference for reference, _ in spoken], [hypothesis for _, hypothesis in spoken])
    total = found.hits + found.substitutions + found.deletions
    return ErrorCounts(found.substitutions, found.deletions, found.insertions + inserted, total)


def _jiwer() -> Any:
    try:
        import jiwer
    except ImportError as error:
        raise MissingExtraError('error rates need jiwer: pip install "auricle[train]"') from error
    return jiwer


def _described(texts: Sequence[str]) -> str:
    return f"one string {texts!r}" if isinstance(texts, str) else f"{len(texts)} texts"
