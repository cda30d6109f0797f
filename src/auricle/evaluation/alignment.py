"""Which words of a reference became which of a hypothesis, and which are confused most often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from auricle.evaluation.wer import levenshtein

Kind = Literal["equal", "replace", "delete", "insert"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of words that were heard alike, or one word that was not; "" stands for no word."""

    kind: Kind
    reference: str
    hypothesis: str


def align(reference: str, hypothesis: str) -> list[Piece]:
    """Return the pieces of two normalised texts in order; errors come one word each, equal words together."""
    said, heard = reference.split(), hypothesis.split()
    return list(_pieces(said, heard))


def confusions(pairs: Iterable[tuple[str, str]], kind: Kind = "replace") -> Counter[tuple[str, str]]:
    """Count the errors of one kind over aligned pairs: (said, heard) to how often.

    A deletion is (word, ""), an insertion ("", word).
    """
    found: Counter[tuple[str, str]] = Counter()
    for reference, hypothesis in pairs:
        if reference != hypothesis:
            found.update(
                (piece.reference, piece.hypothesis) for piece in align(reference, hypothesis) if piece.kind == kind
            )
    return found


def _pieces(said: list[str], heard: list[str]) -> Iterator[Piece]:
    for kind, s_from, s_to, h_from, h_to in levenshtein().opcodes(said, heard).as_list():
        if kind == "equal":
            yield Piece("equal", " ".join(said[s_from:s_to]), " ".join(heard[h_from:h_to]))
        elif kind == "replace":
            yield from (Piece("replace", *pair) for pair in zip(said[s_from:s_to], heard[h_from:h_to], strict=True))
        elif kind == "delete":
            yield from (Piece("delete", word, "") for word in said[s_from:s_to])
        else:
            yield from (Piece("insert", "", word) for word in heard[h_from:h_to])
