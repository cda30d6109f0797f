"""Whether words are given to the right speaker: cpWER and word diarization error rate.

cpWER: all words of each speaker as one text, the hypothesis' speakers matched so that the errors are fewest; a word
of the wrong speaker is a deletion and an insertion (Watanabe et al. 2020, CHiME-6). WDER: of the words that were
heard, right or substituted, those of the wrong speaker (Shafey et al. 2019, "Joint speech recognition and speaker
diarization via sequence transduction").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from auricle.errors import MissingExtraError
from auricle.evaluation.turns import Turn
from auricle.evaluation.wer import LENGTH, ErrorCounts, levenshtein, total, utterance_counts

Spoken = list[tuple[str, str]]  # (speaker, word), as they were said


@dataclass(frozen=True)
class SpeakerErrors:
    """Words that were heard, and how many of them are the wrong speaker's."""

    wrong: int
    heard: int

    @property
    def rate(self) -> float:
        """WDER; 0 where nothing was heard."""
        return self.wrong / self.heard if self.heard else 0.0

    def __add__(self, other: SpeakerErrors) -> SpeakerErrors:
        return SpeakerErrors(self.wrong + other.wrong, self.heard + other.heard)


def cp_errors(references: Sequence[Turn], hypotheses: Sequence[Turn], normalize: Callable[[str], str]) -> ErrorCounts:
    """Count the errors of cpWER in one recording; a speaker without a match has all words deleted or inserted.

    Raises:
        MissingExtraError: without scipy or rapidfuzz.
    """
    said, heard = _texts(references, normalize), _texts(hypotheses, normalize)
    size = max(len(said), len(heard))
    said += [""] * (size - len(said))
    heard += [""] * (size - len(heard))
    pairs = [(one, other) for one in said for other in heard]
    if not pairs:
        return ErrorCounts(0, 0, 0, 0)
    counts = utterance_counts([one for one, _ in pairs], [other for _, other in pairs], "words")
    chosen = _assignment(counts[:, :LENGTH].sum(axis=1).reshape(size, size))
    return total(counts.reshape(size, size, -1)[chosen])


def wd_errors(references: Sequence[Turn], hypotheses: Sequence[Turn], normalize: Callable[[str], str]) -> SpeakerErrors:
    """Count the errors of WDER in one recording: words are aligned whoever said them, then speakers are matched.

    Raises:
        MissingExtraError: without scipy or rapidfuzz.
    """
    said, heard = _spoken(references, normalize), _spoken(hypotheses, normalize)
    blocks = levenshtein().opcodes([word for _, word in said], [word for _, word in heard]).as_list()
    pairs = [
        (said[s_from + step][0], heard[h_from + step][0])
        for kind, s_from, s_to, h_from, _ in blocks
        if kind in ("equal", "replace")
        for step in range(s_to - s_from)
    ]
    if not pairs:
        return SpeakerErrors(0, 0)
    ours, theirs = sorted({one for one, _ in pairs}), sorted({other for _, other in pairs})
    together = np.zeros((len(ours), len(theirs)), dtype=np.int64)
    for one, other in pairs:
        together[ours.index(one), theirs.index(other)] += 1
    right = int(together[_assignment(-together)].sum())
    return SpeakerErrors(len(pairs) - right, len(pairs))


def _texts(turns: Sequence[Turn], normalize: Callable[[str], str]) -> list[str]:
    speakers = dict.fromkeys(turn.speaker for turn in turns)
    return [normalize(" ".join(turn.words or "" for turn in turns if turn.speaker == one)) for one in speakers]


def _spoken(turns: Sequence[Turn], normalize: Callable[[str], str]) -> Spoken:
    ordered = sorted(turns, key=lambda turn: (turn.start, turn.end))
    return [(turn.speaker, word) for turn in ordered for word in normalize(turn.words or "").split()]


def _assignment(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingExtraError('matching speakers needs scipy: pip install "auricle[evaluate]"') from error
    rows, columns = linear_sum_assignment(costs)
    return rows, columns
