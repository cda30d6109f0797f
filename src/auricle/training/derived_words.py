"""Words that a text does not hold, but whose relatives it holds: of `walk` also `walks`, `walked`, `walking`.

A search that knows words writes no other ones, and a text of some hundred thousand words lacks one in twenty of the
next text's, a third of them by no more than an ending. How often such a word is to be expected follows from the text:
as often as its relative, times how often that ending is found with the words that have it.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping

from auricle.decoding.ngram import END, START
from auricle.training.language_model import Scored

# Of the probability that Good and Turing give to words that were never seen: those seen once, as a share of all.
SHARE = 0.7
LEAST = 0.05  # of an expected count: what is less likely is left out
MOST_COUNT = 20  # of a relative, more of which says no more about its endings
BASE_RATE = 0.3  # how often a base is to be expected beside one word that is derived of it
_VOWELS = "aeiou"
_SIBILANT = re.compile(r"(s|x|z|ch|sh)$")


def forms(word: str) -> dict[str, str]:
    """Return the ending and what it makes of an English word in lower case: -s, -ed, -ing, -ly and the genitive."""
    if not word.isalpha() or len(word) < 3:
        return {}
    last = word[-1]
    has_y = last == "y" and word[-2] not in _VOWELS
    # Short words double their last letter: stop, stopped.
    is_doubled = len(word) <= 5 and last not in _VOWELS + "wxyh" and word[-2] in _VOWELS and word[-3] not in _VOWELS
    stem = word + last if is_doubled else word
    return {
        "s": word[:-1] + "ies" if has_y else word + ("es" if _SIBILANT.search(word) else "s"),
        "ed": word + "d" if last == "e" else word[:-1] + "ied" if has_y else stem + "ed",
        "ing": (word[:-1] if last == "e" and not word.endswith("ee") else stem) + "ing",
        "ly": word[:-1] + "y" if word.endswith("le") else word[:-1] + "ily" if has_y else word + "ly",
        "'s": word + "'s",
    }


def bases(word: str) -> set[str]:
    """Return the words of which `forms` makes this one, existing or not."""
    found = set()
    for ending in ("s", "es", "d", "ed", "ing", "ly", "y"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 3:
            found |= {stem, stem + "e", stem[:-1] + "y", stem[:-1]}
    return {base for base in found if word in forms(base).values()}


def expected_counts(counts: Mapping[str, int]) -> dict[str, float]:
    """Return how often words that are not among those counted are to be expected in as much text again.

    A form has no forms of its own, save those of nouns in -ing, and a base ends as some word does.
    """
    known = {word: _forms_beside(word, counts) for word in counts}
    with_form, without = Counter[str](), Counter[str]()
    for word, found in known.items():
        for ending, form in found.items():
            without[ending] += counts[word]
            with_form[ending] += min(counts.get(form, 0), counts[word])
    ends = {word[-3:] for word in counts}
    expected: dict[str, float] = defaultdict(float)
    for word, found in known.items():
        for ending, form in found.items():
            if form not in counts:
                expected[form] += min(counts[word], MOST_COUNT) * with_form[ending] / without[ending]
        for base in bases(word):
            if base not in counts and base[-3:] in ends:
                expected[base] += BASE_RATE * min(counts[word], 3)
    return expected


def _forms_beside(word: str, counts: Mapping[str, int]) -> dict[str, str]:
    found = forms(word)
    if not any(base in counts for base in bases(word)):
        return found
    return {ending: form for ending, form in found.items() if word.endswith("ing") and ending in ("s", "'s")}


def with_derived(scored: Scored, counts: Mapping[str, int]) -> Scored:
    """Give words that are derived from those counted a part of the single words' probability (log10).

    All other words have so much less; what follows other words than these is as it was.
    """
    expected = {word: min(count, 1.0) for word, count in expected_counts(counts).items() if count >= LEAST}
    expected = {word: count for word, count in expected.items() if (word,) not in scored}
    total = sum(expected.values())
    if not total:
        return dict(scored)
    mass = SHARE * sum(count == 1 for count in counts.values()) / sum(counts.values())
    single = {gram for gram in scored if len(gram) == 1 and gram not in ((START,), (END,))}
    found = {
        gram: (probability + math.log10(1.0 - mass), weight) if gram in single else (probability, weight)
        for gram, (probability, weight) in scored.items()
    }
    return found | {(word,): (math.log10(mass * count / total), 0.0) for word, count in expected.items()}
