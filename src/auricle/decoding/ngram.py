"""Word n-gram language models with back-off: ARPA text by our own reader, KenLM binaries by kenlm.

A word's probability is that of the longest known n-gram that it ends, times the back-off weights of the
contexts that were given up. All scores are natural logarithms.

Source: Katz 1987; the ARPA format as in SRILM's ngram-format(5).
"""

from __future__ import annotations

import gzip
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from auricle.errors import MissingExtraError, OptionError

LN_10 = 2.302585092994046  # ARPA and KenLM count in powers of ten
START, END, UNKNOWN = "<s>", "</s>", "<unk>"
# What KenLM gives an unknown word if the model has no <unk> of its own, as a power of ten.
MISSING_UNKNOWN = -100.0
KENLM_MAGIC = b"mmap lm http://kheafield.com/code"


class LanguageModel(Protocol):
    """A model of word sequences; states are immutable and may be shared."""

    def start(self) -> Any:
        """Return the state at the start of a sentence."""
        ...

    def score_word(self, state: Any, word: str) -> tuple[float, Any, bool]:
        """Return ln P(word | state), the next state, and whether the model knows the word."""
        ...

    def end(self, state: Any) -> float:
        """Return ln P(end of sentence | state)."""
        ...

    def may_become_word(self, beginning: str) -> bool:
        """Say whether some known word starts with `beginning`; True if the model cannot tell."""
        ...


class NGram:
    """A back-off model held in a dictionary; large ones are better made into KenLM binaries.

    A word is looked up as it is written, then in lower case, then in upper case: recognisers and language
    models often differ in nothing else.
    """

    def __init__(self, grams: dict[tuple[str, ...], tuple[float, float]], order: int) -> None:
        """Take n-grams with (ln probability, ln back-off weight) and the length of the longest."""
        self.order = order
        self._grams = grams
        self._words = {gram[0] for gram in grams if len(gram) == 1}
        self._sorted = sorted(self._words - {START, END, UNKNOWN})

    @classmethod
    def from_arpa(cls, path: Path) -> NGram:
        """Read an ARPA file, plain or gzipped.

        Raises: OptionError naming the line that is no ARPA.
        """
        opener = gzip.open if Path(path).suffix == ".gz" else open
        try:
            with opener(path, "rt", encoding="utf-8") as lines:
                grams, order = _read_arpa(lines, str(path))
        except (UnicodeDecodeError, gzip.BadGzipFile) as error:
            raise OptionError(f"lm={str(path)!r} is no ARPA text: {error}; give an ARPA file") from error
        return cls(grams, order)

    def start(self) -> tuple[str, ...]:
        return (START,)[: self.order - 1]

    def score_word(self, state: tuple[str, ...], word: str) -> tuple[float, tuple[str, ...], bool]:
        forms = (word, word.lower(), word.upper())
        known = next((form for form in forms if form in self._words), UNKNOWN)
        score = self._score((*state, known))
        context = (*state, known)[-(self.order - 1) :] if self.order > 1 else ()
        return score, context, known != UNKNOWN

    def end(self, state: tuple[str, ...]) -> float:
        return self._score((*state, END))

    def may_become_word(self, beginning: str) -> bool:
        for form in (beginning, beginning.lower(), beginning.upper()):
            place = bisect_left(self._sorted, form)
            if place < len(self._sorted) and self._sorted[place].startswith(form):
                return True
        return False

    def _score(self, gram: tuple[str, ...]) -> float:
        backed_off = 0.0
        while gram not in self._grams:
            if len(gram) == 1:
                return backed_off + MISSING_UNKNOWN * LN_10
            backed_off += self._grams.get(gram[:-1], (0.0, 0.0))[1]
            gram = gram[1:]
        return backed_off + self._grams[gram][0]


class KenLM:
    """A model read by the kenlm package, which maps large binaries into memory.

    Raises: MissingExtraError without the package; OptionError if it cannot read the file.
    """

    def __init__(self, path: Path) -> None:
        try:
            import kenlm
        except ImportError as error:
            raise MissingExtraError(
                f"lm={str(path)!r} is a KenLM binary, which needs the kenlm package: "
                'pip install "auricle[lm]", or give the ARPA text of the model'
            ) from error
        try:
            self._model = kenlm.Model(str(path))
        except OSError as error:
            raise OptionError(f"lm={str(path)!r} cannot be read by kenlm: {error}; build it again") from error
        self._new_state = kenlm.State
        self.order = self._model.order

    def start(self) -> Hashable:
        state = self._new_state()
        self._model.BeginSentenceWrite(state)
        return state

    def score_word(self, state: Any, word: str) -> tuple[float, Any, bool]:
        forms = (word, word.lower(), word.upper())
        known = next((form for form in forms if form in self._model), None)
        following = self._new_state()
        score = self._model.BaseScore(state, known or UNKNOWN, following)
        return score * LN_10, following, known is not None

    def end(self, state: Any) -> float:
        return self._model.BaseScore(state, END, self._new_state()) * LN_10

    def may_become_word(self, beginning: str) -> bool:
        return True  # a KenLM binary keeps hashes of its words, not their spelling


def _read_arpa(lines: Iterable[str], name: str) -> tuple[dict[tuple[str, ...], tuple[float, float]], int]:
    grams: dict[tuple[str, ...], tuple[float, float]] = {}
    order = 0
    ended = False
    for number, line in _content(lines):
        if line.startswith("\\"):
            ended = line == "\\end\\"
            if line.endswith("-grams:"):
                order = int(line[1:].partition("-")[0])
            if ended:
                break
        elif order:
            fields = line.split()
            if len(fields) not in (order + 1, order + 2):
                raise OptionError(
                    f"lm={name!r}, line {number}: expected a probability, {order} words and perhaps a "
                    f"back-off weight, got {line!r}; build the model again"
                )
            try:
                backoff = float(fields[order + 1]) if len(fields) == order + 2 else 0.0
                grams[tuple(fields[1 : order + 1])] = (float(fields[0]) * LN_10, backoff * LN_10)
            except ValueError as error:
                raise OptionError(f"lm={name!r}, line {number}: {error}; build the model again") from error
    if not ended or not grams:
        raise OptionError(
            f"lm={name!r} is no whole ARPA file: expected \\data\\, sections of n-grams and \\end\\; "
            "give an ARPA file or a KenLM binary"
        )
    return grams, order


def _content(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Give the numbered lines from \\data\\ on that are not empty."""
    begun = False
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        begun = begun or line == "\\data\\"
        if begun and line:
            yield number, line
