"""A word n-gram model of a text, as an ARPA file: modified Kneser-Ney smoothing with pruning.

Source: Chen and Goodman 1999, section 3 (three discounts an order); Heafield et al. 2013 for the order of the steps.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from auricle.decoding.ngram import END, LN_10, START, UNKNOWN
from auricle.errors import ConfigError, OptionError
from auricle.training.data import DEV_SPEAKER
from auricle.training.text import spoken_form

# Words in a row that a text shares with a tested recording before it is taken to be from the same book.
SHARED_WORDS = 7
# Lines left out before and after such a place: more than half a book of a sentence a line.
BOOK_LINES = 2500
# How the search weighs it beside the bundled model: the best of 24 settings on the speaker who watches training.
WEIGHTS = {"alpha": 0.6, "beta": 1.5, "unk_score_offset": -12.0}
_SENTENCE_END = re.compile(r"(?<=[.!?;:])[\"')\]]*\s+")

Gram = tuple[str, ...]
Scored = dict[Gram, tuple[float, float]]


def tested_runs(manifest: Path) -> set[Gram]:
    """Return every run of `SHARED_WORDS` words of a manifest's test split, and every whole text of it."""
    found: set[Gram] = set()
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.get("split") == "test":
            words = _words(row.get("text") or "")
            found.update(_runs(words))
            found.add(tuple(words))
    return found


def read_sentences(texts: Path, manifest: Path, held_out: Path | None = None) -> Iterator[list[str]]:
    """Yield the words of each sentence under `texts`, and of the manifest's English training split.

    What lies within `BOOK_LINES` of a place that the test split quotes at length is left out, so that no tested book
    teaches its own words; single sentences that are tested, also in the manifest `held_out`, are left out wherever they
    are.

    Raises: ConfigError where neither holds a sentence.
    """
    books, n_found = tested_runs(manifest), 0
    tested = books | tested_runs(held_out) if held_out is not None else books
    for _, lines in untested_books(texts, books):
        for line in lines:
            for sentence in _SENTENCE_END.split(line.strip()):
                words = _words(sentence)
                if words and not is_tested(words, tested):
                    n_found += 1
                    yield words
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        words = _words(row.get("text") or "")
        is_taught = row["split"] == "train" and row.get("speaker") != DEV_SPEAKER and row.get("language") == "en"
        if is_taught and words and not is_tested(words, tested):
            n_found += 1
            yield words
    if not n_found:
        raise ConfigError(f"{texts} and {manifest} hold no sentence; give a folder of .txt files")


def untested_books(texts: Path, tested: set[Gram]) -> Iterator[tuple[Path, list[str]]]:
    """Yield each text file under a folder and its lines, without the books that tested runs come from."""
    for path in sorted(texts.rglob("*.txt")):
        if path.name == "SOURCE.txt":
            continue
        raw = path.read_bytes()
        try:
            lines = raw.decode("utf-8").splitlines()
        except UnicodeDecodeError:
            lines = raw.decode("latin-1").splitlines()
        yield path, list(_without_tested_books(lines, tested))


def _words(text: str) -> list[str]:
    return (spoken_form(text) or "").split()


def _runs(words: Sequence[str]) -> Iterator[Gram]:
    return (tuple(words[start : start + SHARED_WORDS]) for start in range(len(words) - SHARED_WORDS + 1))


def is_tested(words: Sequence[str], tested: set[Gram]) -> bool:
    """Say whether a sentence is a tested text, or shares a run with one."""
    return tuple(words) in tested or not tested.isdisjoint(_runs(words))


def _without_tested_books(lines: Sequence[str], tested: set[Gram]) -> Iterator[str]:
    hits = [number for number, line in enumerate(lines) if not tested.isdisjoint(_runs(_words(line)))]
    # A single line may be a saying; three near each other are a quotation.
    places = [one for one in hits if sum(abs(one - other) <= 500 for other in hits) >= 3]
    for number, line in enumerate(lines):
        if not any(abs(number - place) <= BOOK_LINES for place in places):
            yield line


def estimate(sentences: Iterable[Sequence[str]], order: int = 3, cutoffs: Sequence[int] = (0, 0, 1)) -> Scored:
    """Return n-grams up to `order` with (log10 probability, log10 back-off weight).

    Grams of order n that were seen at most `cutoffs[n - 1]` times are left out, their probability going to the
    back-off; unigrams never are.

    Raises: OptionError for an order or cutoffs that do not fit.
    """
    if order < 1 or len(cutoffs) != order or cutoffs[0] != 0:
        raise OptionError(f"expected an order from 1 and a cutoff for each, the first 0; got {order} and {cutoffs}")
    raw: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for words in sentences:
        padded = [START, *words, END]
        for n in range(1, order + 1):
            raw[n - 1].update(zip(*(padded[k:] for k in range(n)), strict=False))
    counts = [_continuations(raw, n) for n in range(1, order + 1)]
    scored: Scored = {}
    vocabulary = {gram[0] for gram in counts[0]} | {UNKNOWN}
    lower: dict[Gram, float] = {(word,): 1.0 / len(vocabulary) for word in vocabulary}
    backoffs: list[dict[Gram, float]] = []
    probabilities: list[dict[Gram, float]] = []
    for n in range(1, order + 1):
        discounts = _discounts(counts[n - 1])
        kept = {gram: count for gram, count in counts[n - 1].items() if n == 1 or raw[n - 1][gram] > cutoffs[n - 1]}
        found, weights = _interpolated(counts[n - 1], kept, discounts, lower, n)
        probabilities.append(found)
        backoffs.append(weights)
        lower = found
    for n, found in enumerate(probabilities, start=1):
        following = backoffs[n] if n < order else {}
        for gram, probability in found.items():
            scored[gram] = (math.log10(probability), math.log10(following.get(gram, 1.0)))
    scored.setdefault((START,), (-99.0, math.log10(backoffs[1].get((START,), 1.0) if order > 1 else 1.0)))
    return scored


def _continuations(raw: list[Counter[Gram]], n: int) -> Counter[Gram]:
    """Counts of the highest order as they are; below it, of how many words a gram follows; after START as they are."""
    if n == len(raw):
        return Counter({gram: count for gram, count in raw[n - 1].items() if gram != (START,)})
    found: Counter[Gram] = Counter()
    for gram in raw[n]:
        found[gram[1:]] += 1
    for gram, count in raw[n - 1].items():
        if gram[0] == START and n > 1:
            found[gram] = count
    found.pop((START,), None)
    return found


def _discounts(counts: Counter[Gram]) -> tuple[float, float, float]:
    """The three of Chen and Goodman's equation 26, within what keeps probabilities positive."""
    n = [0] * 5
    for count in counts.values():
        if count <= 4:
            n[count] += 1
    if not (n[1] and n[2]):
        return 0.5, 0.75, 0.9  # too little text to estimate them
    y = n[1] / (n[1] + 2 * n[2])
    estimated = [k - (k + 1) * y * n[k + 1] / n[k] if n[k] else 0.75 * k for k in (1, 2, 3)]
    return tuple(min(max(one, 0.1), k - 0.05) for k, one in zip((1, 2, 3), estimated, strict=True))  # type: ignore[return-value]


def _interpolated(
    counts: Counter[Gram],
    kept: dict[Gram, int],
    discounts: tuple[float, float, float],
    lower: dict[Gram, float],
    n: int,
) -> tuple[dict[Gram, float], dict[Gram, float]]:
    """Return the probabilities of the kept grams and the weight that each context leaves to the order below."""
    totals: dict[Gram, float] = defaultdict(float)
    for gram, count in counts.items():
        totals[gram[:-1]] += count
    used: dict[Gram, float] = defaultdict(float)
    for gram, count in kept.items():
        used[gram[:-1]] += max(count - discounts[min(count, 3) - 1], 0.0)
    left = {context: 1.0 - used[context] / total for context, total in totals.items() if context in used or n == 1}
    found = {}
    for gram, count in kept.items():
        context = gram[:-1]
        own = max(count - discounts[min(count, 3) - 1], 0.0) / totals[context]
        found[gram] = own + left[context] * lower[gram[1:] if n > 1 else gram]
    if n == 1:
        found[(UNKNOWN,)] = left[()] * lower[(UNKNOWN,)]
    # A weight of the back-off is what is left over what the order below gives to words that are not kept here.
    given: dict[Gram, float] = defaultdict(float)
    seen: dict[Gram, float] = defaultdict(float)
    for gram, probability in found.items():
        given[gram[:-1]] += probability
        seen[gram[:-1]] += lower[gram[1:] if n > 1 else gram]
    weights = {context: max(1e-9, 1.0 - given[context]) / max(1e-9, 1.0 - seen[context]) for context in given if n > 1}
    return found, weights


def write_arpa(scored: Scored, path: Path) -> None:
    """Write an ARPA file, gzipped where the name ends in .gz."""
    by_order: dict[int, list[Gram]] = defaultdict(list)
    for gram in scored:
        by_order[len(gram)].append(gram)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write("\\data\\\n" + "".join(f"ngram {n}={len(by_order[n])}\n" for n in sorted(by_order)) + "\n")
        for n in sorted(by_order):
            file.write(f"\\{n}-grams:\n")
            for gram in sorted(by_order[n]):
                probability, weight = scored[gram]
                tail = f"\t{weight:.5f}" if weight else ""
                file.write(f"{probability:.5f}\t{' '.join(gram)}{tail}\n")
            file.write("\n")
        file.write("\\end\\\n")


def natural(scored: Scored) -> Scored:
    """Return the same grams with natural logarithms, as the search counts."""
    return {gram: (probability * LN_10, weight * LN_10) for gram, (probability, weight) in scored.items()}


def perplexity(scored: Scored, order: int, sentences: Iterable[Sequence[str]]) -> tuple[float, float]:
    """Return the perplexity over known words and sentence ends, and the share of words that are unknown."""
    total = n_scored = n_unknown = 0.0
    for words in sentences:
        context: Gram = (START,)
        for word in [*words, END]:
            known = word if (word,) in scored else UNKNOWN
            gram, score = (*context, known)[-order:], 0.0
            while gram not in scored and len(gram) > 1:
                score += scored.get(gram[:-1], (0.0, 0.0))[1]
                gram = gram[1:]
            if known == UNKNOWN:
                n_unknown += 1
            else:
                total, n_scored = total + score + scored[gram][0], n_scored + 1
            context = (*context, known)[-(order - 1) :] if order > 1 else ()
    return 10 ** (-total / max(1.0, n_scored)), n_unknown / max(1.0, n_unknown + n_scored)
