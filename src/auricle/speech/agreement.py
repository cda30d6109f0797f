"""Which words of a growing recording are settled: those that two successive hypotheses agree on.

Pure: it sees hypotheses, lists of words with times in seconds from the recording's start, and no sound.

Source: Liu, Spanakis and Niehues 2020, "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by
Partial Hypothesis Selection" (local agreement, n = 2); Machacek, Dabre and Bojar 2023, "Turning Whisper into
Real-Time Transcription System".
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from auricle.results import Word

MISPLACED_S = 0.5  # seconds by which a word may be on the wrong side of what is final for the cost of one edit


class LocalAgreement:
    """Takes hypotheses over the same stretch of sound, one after the other, and hands out each word once.

    What it has handed out never changes: later hypotheses only go on from there. The final words that still
    lie in the sound being decoded are kept, to be found again in the next hypothesis.
    """

    def __init__(self) -> None:
        self.final_end = 0.0  # seconds; no later word begins before it
        self.kept: list[Word] = []  # final words that the next hypothesis will hear again
        self.tentative: tuple[Word, ...] = ()  # what the last hypothesis said after the final words

    def update(
        self, hypothesis: Sequence[Word], settled_until: float, received: float, overdue_until: float = -math.inf
    ) -> tuple[Word, ...]:
        """Return the words that are final by now, in this hypothesis' form; `tentative` is what follows them.

        A word that ends after `settled_until` is not final, since the sound may have been cut off inside it; one
        that ends by `overdue_until` is, whatever the last hypothesis had in its place. No time lies after
        `received`. All are in seconds.
        """
        words = self._new(hypothesis, received)
        n_final = place = 0
        for word in words:
            agreed = place < len(self.tentative) and key(self.tentative[place].text) == key(word.text)
            if agreed and word.end <= settled_until:
                place += 1
            elif word.end <= overdue_until:
                # What the last hypothesis said after it is compared with what follows.
                place = next(
                    (at for at, old in enumerate(self.tentative) if old.start + old.end > 2 * word.end),
                    len(self.tentative),
                )
            else:
                break
            n_final += 1
        self.tentative = words
        self._settle(words[:n_final])
        return words[:n_final]

    def settle(self, until: float) -> tuple[Word, ...]:
        """Make the words of the last hypothesis that end by `until` final, agreed on or not, and return them."""
        n_final = next((number for number, word in enumerate(self.tentative) if word.end > until), len(self.tentative))
        words = self.tentative[:n_final]
        self._settle(words)
        return words

    def forget(self, before: float) -> list[Word]:
        """Say that the sound before this time will not be heard again; return the final words that were there."""
        gone = [word for word in self.kept if word.end <= before]
        self.kept = self.kept[len(gone) :]
        return gone

    def _new(self, hypothesis: Sequence[Word], received: float) -> tuple[Word, ...]:
        """What a hypothesis says after the final words, with times that neither go back nor lie ahead."""
        words, earliest = [], self.final_end
        for word in hypothesis[n_repeated(self.kept, hypothesis, self.final_end) :]:
            start = min(max(word.start, earliest), received)
            earliest = min(max(word.end, start), received)
            words.append(replace(word, start=start, end=earliest))
        return tuple(words)

    def _settle(self, words: Sequence[Word]) -> None:
        self.tentative = self.tentative[len(words) :]
        self.kept += words
        if words:
            self.final_end = words[-1].end


def n_repeated(final: Sequence[Word], hypothesis: Sequence[Word], final_end: float) -> int:
    """Return how many leading words of a hypothesis are the final words again.

    A later hypothesis may spell or time them otherwise. The place chosen is where the edits from the final
    words to the leading ones, and the distances in time of words on its wrong side, are least in sum.

    >>> a, b, c = Word("a", 0.0, 0.4, 1.0), Word("b", 0.5, 0.9, 1.0), Word("c", 1.0, 1.4, 1.0)
    >>> n_repeated([a, b], [a, b, c], 0.9)
    2
    """
    middles = [(word.start + word.end) / 2 for word in hypothesis]
    keys = [key(word.text) for word in hypothesis]
    # Edits from all of `final` to the first k words of the hypothesis, for every k: the last row of the table.
    edits = list(range(len(keys) + 1))
    for row, said in enumerate(final, start=1):
        wanted = key(said.text)
        last, edits = edits, [row]
        for column, heard in enumerate(keys):
            edits.append(min(last[column] + (heard != wanted), last[column + 1] + 1, edits[column] + 1))
    # With k words taken for the final ones, those from k on that lie before their end are misplaced, and those
    # up to k that lie after it.
    misplaced = sum(max(0.0, final_end - middle) for middle in middles)
    best, lowest = 0, edits[0] + misplaced / MISPLACED_S
    for number, middle in enumerate(middles, start=1):
        misplaced += middle - final_end
        cost = edits[number] + misplaced / MISPLACED_S
        if cost <= lowest:
            best, lowest = number, cost
    return best


def key(text: str) -> str:
    """What two forms of one word have in common: no case, no punctuation, no space around.

    >>> key(" Don't,") == key("dont")
    True
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(sign for sign in folded if unicodedata.category(sign)[0] not in "PSZ")
