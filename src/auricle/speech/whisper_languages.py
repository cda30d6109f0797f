"""Which language is spoken: from the probabilities of several windows, and where it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A recording changes its language at once where another one is this probable, and at the second window in a
# row where it is more probable than all others together.
SURE, LIKELY = 0.8, 0.5


def average(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of the probabilities of several windows."""
    return {code: sum(one[code] for one in found) / len(found) for code in found[0]}


def most_probable(probabilities: Mapping[str, float]) -> tuple[str, float]:
    """The most probable language, and its probability."""
    return max(probabilities.items(), key=lambda item: item[1])


@dataclass
class LanguageTracker:
    """The language of a recording that may change, heard window by window."""

    language: str | None = None
    rival: str | None = None  # what the last window sounded like, if it was not enough for a change

    def hear(self, probabilities: Mapping[str, float]) -> bool:
        """Take in the next window; whether the language changes with it."""
        best, probability = most_probable(probabilities)
        if self.language is None:
            self.language = best
            return False
        changes = best != self.language and (probability >= SURE or (probability > LIKELY and self.rival == best))
        if changes:
            self.language = best
        self.rival = best if best != self.language and probability > LIKELY else None
        return changes
