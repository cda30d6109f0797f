"""A word n-gram model as a few sorted arrays, mapped from a file: it opens at once, and native code reads it as it is.

Order 3 at most. A gram's successors lie together, sorted by word, so that two searches by halving find a trigram.

Dimension key: V words, B bigrams, T trigrams. Words are numbered by their place in the sorted list of all.

The file is safetensors with
  words (bytes, uint8) and starts (V + 1, int32)   the words in UTF-8, one behind the other
  probability1, backoff1 (V + 1, float32)          natural logarithms; the last entry is the unknown word
  first2 (V + 2, int32)                            where the bigrams of each word begin
  word2 (B, int32), probability2, backoff2 (B, float16), first3 (B + 1, int32)
  word3 (T, int32), probability3 (T, float16)
and START and END as words of their own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from auricle.decoding.ngram import END, START, UNKNOWN
from auricle.errors import OptionError

MOST_ORDER = 3
NAMES = frozenset(
    "words starts probability1 backoff1 first2 word2 probability2 backoff2 first3 word3 probability3".split()
)
_NUMBERS = ("float16", "float32")
_KINDS = {
    "words": ("uint8",),
    **dict.fromkeys(("probability1", "backoff1", "probability2", "backoff2", "probability3"), _NUMBERS),
}
NO_WORD = -1  # in a state: there was no word so far back


class CompactNGram:
    """A `LanguageModel` of words written in lower case; a state is the numbers of the last words, oldest first."""

    order = MOST_ORDER

    def __init__(self, arrays: Mapping[str, np.ndarray], name: str = "the language model") -> None:
        """Take the arrays of a file.

        Raises: OptionError for arrays that are no such model.
        """
        missing = sorted(NAMES - set(arrays))
        if missing:
            raise OptionError(f"{name} lacks {', '.join(missing)}; make it with `python -m auricle.training` again")
        self.arrays = {key: np.ascontiguousarray(arrays[key]) for key in sorted(NAMES)}
        wrong = _wrong_array(self.arrays)
        if wrong is not None:
            raise OptionError(f"{name} has a wrong {wrong}; make it with `python -m auricle.training` again")
        written, starts = self.arrays["words"].tobytes(), self.arrays["starts"].tolist()
        words = [written[first:end].decode() for first, end in pairwise(starts)]
        if words != sorted(words) or START not in words or END not in words:
            raise OptionError(f"{name} has words that are not sorted, or lacks {START} or {END}; make it again")
        self._words = words
        self.start_word, self.end_word, self.unknown_word = words.index(START), words.index(END), len(words)

    @classmethod
    def from_file(cls, path: Path) -> CompactNGram:
        """Read a file.

        Raises: OptionError if it is none.
        """
        try:
            return cls(load_file(path), f"lm={str(path)!r}")
        except OptionError:  # is a ValueError, too
            raise
        except (SafetensorError, ValueError) as error:
            raise OptionError(f"lm={str(path)!r} is no language model: {error}; make it again") from error

    @cached_property
    def words(self) -> list[str]:
        """The words that it knows, sorted; START and END are not among them."""
        return [word for word in self._words if word not in (START, END)]

    @cached_property
    def _number(self) -> dict[str, int]:
        # Native code looks words up in the arrays, and most processes need no more.
        return {word: number for number, word in enumerate(self._words)}

    def start(self) -> tuple[int, int]:
        return NO_WORD, self.start_word

    def score_word(self, state: tuple[int, int], word: str) -> tuple[float, tuple[int, int], bool]:
        number = self._number.get(word.lower(), self.unknown_word)
        return self._score(state, number), (state[1], number), number != self.unknown_word

    def end(self, state: tuple[int, int]) -> float:
        return self._score(state, self.end_word)

    def may_become_word(self, beginning: str) -> bool:
        beginning = beginning.lower()
        place = bisect_left(self.words, beginning)
        return place < len(self.words) and self.words[place].startswith(beginning)

    def _score(self, state: tuple[int, int], word: int) -> float:
        """ln P(word | state): the longest gram that is here, and the back-off weights of those that are not."""
        arrays, before, last = self.arrays, *state
        context = self._bigram(before, last)
        if context is not None:
            place = _find(arrays["word3"], arrays["first3"][context], arrays["first3"][context + 1], word)
            if place is not None:
                return float(arrays["probability3"][place])
        score = 0.0 if context is None else float(arrays["backoff2"][context])
        pair = self._bigram(last, word)
        if pair is not None:
            return score + float(arrays["probability2"][pair])
        return score + float(arrays["backoff1"][last]) + float(arrays["probability1"][word])

    def _bigram(self, first: int, second: int) -> int | None:
        if first == NO_WORD:
            return None
        bounds = self.arrays["first2"]
        return _find(self.arrays["word2"], bounds[first], bounds[first + 1], second)


def _find(words: np.ndarray, first: int, end: int, word: int) -> int | None:
    place = int(first) + int(np.searchsorted(words[first:end], word))
    return place if place < end and words[place] == word else None


def _wrong_array(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Name an array that native code must not follow: of another kind or length, or with places outside the others."""
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype.name not in _KINDS.get(name, ("int32",)):
            return name
    sizes = {name: len(array) for name, array in arrays.items()}
    n_words, n_pairs, n_triples = max(0, sizes["starts"] - 1), sizes["word2"], sizes["word3"]
    lengths = dict.fromkeys(("starts", "probability1", "backoff1"), n_words + 1)
    lengths |= {"first2": n_words + 2, "probability2": n_pairs, "backoff2": n_pairs, "first3": n_pairs + 1}
    lengths |= {"probability3": n_triples}
    ends = {"starts": sizes["words"], "first2": n_pairs, "first3": n_triples}
    for name, length in lengths.items():
        if sizes[name] != length:
            return name
    for name, end in ends.items():
        if arrays[name][0] != 0 or arrays[name][-1] != end or (np.diff(arrays[name]) < 0).any():
            return name
    return next((name for name in ("word2", "word3") if ((arrays[name] < 0) | (arrays[name] > n_words)).any()), None)


def write_compact(grams: Mapping[tuple[str, ...], tuple[float, float]], path: Path) -> None:
    """Write grams with (ln probability, ln back-off weight), the unknown word among them, as a file.

    Raises: OptionError for grams that are too long or not in lower case.
    """
    words = sorted({word for gram in grams for word in gram} | {START, END})
    words = [word for word in words if word != UNKNOWN]
    number = {**{word: place for place, word in enumerate(words)}, UNKNOWN: len(words)}
    wrong = next((gram for gram in grams if len(gram) > MOST_ORDER or " ".join(gram) != " ".join(gram).lower()), None)
    if wrong is not None:
        raise OptionError(f"{wrong} cannot be in a compact model: expected at most {MOST_ORDER} words in lower case")
    by_order = {
        order: sorted(
            (tuple(number[word] for word in gram), *scores) for gram, scores in grams.items() if len(gram) == order
        )
        for order in (1, 2, 3)
    }
    one = np.full((2, len(words) + 1), [[-100.0], [0.0]], np.float32)
    for (word,), probability, backoff in by_order[1]:
        one[:, word] = probability, backoff
    pairs = np.array([gram for gram, *_ in by_order[2]], np.int64).reshape(-1, 2)
    triples = np.array([gram for gram, *_ in by_order[3]], np.int64).reshape(-1, 3)
    # A trigram lies below the bigram that it begins with.
    places = {tuple(pair): place for place, pair in enumerate(pairs.tolist())}
    below = np.array([places[tuple(gram[:2])] for gram in triples.tolist()], np.int64)
    written = [word.encode() for word in words]
    content = save(
        {
            "words": np.frombuffer(b"".join(written), np.uint8),
            "starts": np.cumsum([0, *map(len, written)], dtype=np.int32),
            "probability1": one[0],
            "backoff1": one[1],
            "first2": np.searchsorted(pairs[:, 0], np.arange(len(words) + 2)).astype(np.int32),
            "word2": pairs[:, 1].astype(np.int32),
            "probability2": np.array([score for _, score, _ in by_order[2]], np.float16),
            "backoff2": np.array([weight for *_, weight in by_order[2]], np.float16),
            "first3": np.searchsorted(below, np.arange(len(pairs) + 1)).astype(np.int32),
            "word3": triples[:, 2].astype(np.int32),
            "probability3": np.array([score for _, score, _ in by_order[3]], np.float16),
        }
    )
    path.write_bytes(content)  # safetensors' own files may be read by nobody else
