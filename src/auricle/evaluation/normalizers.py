"""How texts are written before words are compared; each way has a hash of what it does, for every row of results.

Whisper's two ways are those of the library whisper-normalizer. A score depends on the way as much as on the model,
so that rows of different hashes are never averaged.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import itertools
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import Any

from auricle.errors import MissingExtraError, OptionError, nearest
from auricle.text.normalize import normalize_english

LIBRARY = "whisper-normalizer"
AUTO = "auto"
# Rules that the library adds to Whisper's: with them the noun "cause" becomes "because".
_NOT_WHISPERS = {r"\bcause\b": "because", r"\bdunno\b": "do not know"}
# What normalisers differ in: every one of these changes when a rule of the kind is changed.
PROBES = (
    "Mr. O'Brien won't pay $3.50, he said; I'd've gone!",
    "Twenty-one hundred and a half, double oh seven, nineteen eighty four",
    "the colour of honour [noise] (laughs) <unk> um, hmm, dunno, because of the cause",
    "1,000 people, 50% of 3.5 million, 1st and 2nd, the 1960s, £5 and ten cents",
    "Élan naïve Straße ŒUVRE Ærø İstanbul Ǆ ﬁn ２０",
    "नमस्ते दुनिया, வணக்கம் உலகம்",
    "你好，世界。今天天气很好！ こんにちは",
    "don’t ‘quote’ – it’s “here”… e-mail A.B.C. O'CLOCK",
    "y'all gonna let's ain't he's been she'd gone we'll they've I'm",
    "   spaces\tand\nlines  ",
)


@dataclass(frozen=True)
class Normalizer:
    """Rewrites a text for comparison; two of the same `hash` do the same."""

    name: str
    rewrite: Callable[[str], str] = field(repr=False)
    version: str  # of the library that has the rules, or of our own rules
    configuration: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        """Return the text as it is compared, its words divided by single spaces."""
        return " ".join(self.rewrite(text).split())

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits of the name, the version, the configuration and what becomes of `PROBES`."""
        content = [self.name, self.version, self.configuration, [self(probe) for probe in PROBES]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def all(self, texts: Iterable[str]) -> list[str]:
        """Rewrite many texts; those that repeat are rewritten once."""
        known: dict[str, str] = {}
        return [known[text] if text in known else known.setdefault(text, self(text)) for text in texts]

    def stamp(self) -> dict[str, str]:
        """Return what a row of results says of it."""
        return {"name": self.name, "version": self.version, "hash": self.hash}


def normalizer(name: str) -> Normalizer:
    """Return the normaliser of a name.

    "none" leaves texts as they are; "english" and "basic" only take capitals and punctuation away, so that figures
    can be checked by hand ("basic" for every script: marks such as vowel signs stay); "whisper-english" also writes
    numbers, contractions and spellings one way, and "whisper-basic" is what Whisper's authors used for other
    languages: it drops marks, and with them the vowels of Hindi.

    Raises:
        OptionError: no normaliser has this name.
        MissingExtraError: one of Whisper's, without the library.
    """
    if name not in NORMALIZERS:
        raise OptionError(f"normalizer {name!r} is none of {', '.join(NORMALIZERS)}{nearest(name, NORMALIZERS)}")
    return NORMALIZERS[name]()


def normalizer_for(languages: Iterable[str | None]) -> Normalizer:
    """Return Whisper's English normaliser where every text is known to be English, and "basic" otherwise."""
    known = {(language or "").replace("_", "-").split("-")[0].lower() for language in languages}
    return normalizer("whisper-english" if known and known <= {"en", "english", "eng"} else "basic")


def normalize_basic(text: str) -> str:
    """Return `text` in lower case with spaces for symbols and punctuation; letters, marks and digits stay.

    An apostrophe between letters stays, as in "l'eau"; words in brackets stay.
    """
    folded = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).lower()
    kept = "".join(" " if unicodedata.category(sign)[0] in "SPZC" and sign != "'" else sign for sign in folded)
    return _LOOSE_APOSTROPHE.sub(" ", kept)


_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "‘": "'", "`": "'"})
_LOOSE_APOSTROPHE = re.compile(r"(?<!\S)'+|'+(?!\S)")


@cache
def _none() -> Normalizer:
    return Normalizer("none", str, "1")


@cache
def _english() -> Normalizer:
    return Normalizer("english", normalize_english, "1")


@cache
def _basic() -> Normalizer:
    return Normalizer("basic", normalize_basic, "1")


@cache
def _whisper_basic() -> Normalizer:
    chosen = {"remove_diacritics": False, "split_letters": False}
    return Normalizer("whisper-basic", _library("basic").BasicTextNormalizer(**chosen), _version(), chosen)


@cache
def _whisper_english() -> Normalizer:
    made = _library("english").EnglishTextNormalizer()
    left_out = sorted(pattern for pattern in _NOT_WHISPERS if pattern in made.replacers)
    for pattern in left_out:
        del made.replacers[pattern]
    return Normalizer("whisper-english", _QuickEnglish(made), _version(), {"without": left_out})


NORMALIZERS: dict[str, Callable[[], Normalizer]] = {
    "none": _none,
    "basic": _basic,
    "english": _english,
    "whisper-basic": _whisper_basic,
    "whisper-english": _whisper_english,
}


class _QuickEnglish:
    """Whisper's English normaliser, remembered word by word where no word's meaning depends on its neighbours.

    What depends on them is numbers, and the participles that tell "has" from "is". They go through the library
    together with the words beside them, and texts with digits or uncommon signs go through it whole. The result is
    the library's, in less time.
    """

    _PLAIN = re.compile(r"""(?:\s*"?[a-z]+(?:['-][a-z]+)*[,.;:?!]?"?(?=\s|\Z))*\s*""")
    _WORDS = re.compile(r"[a-z]+")

    def __init__(self, whole: Callable[[str], str]) -> None:
        self.whole = whole
        rules: Any = whole
        numbers, self.spellings = rules.standardize_numbers, rules.standardize_spellings.mapping
        self.replaced = re.compile("|".join([*rules.replacers, rules.ignore_patterns]))
        # Without a number beside it, "and" is a word like others, but "one and a half" stays together.
        neighbours = "been gone done got half hmm mm mhm mmm uh um"  # the last six vanish from between others
        self.dependent = frozenset({*numbers.words, *neighbours.split()} - {"and"})
        self.piece = lru_cache(maxsize=200_000)(self._piece)
        self.is_dependent = lru_cache(maxsize=200_000)(self._is_dependent)

    def __call__(self, text: str) -> str:
        lowered = text.lower()
        if not self._PLAIN.fullmatch(lowered):
            return self.whole(text)
        words = lowered.split()
        if not any(map(self.is_dependent, words)):
            return " ".join(map(self.piece, words))
        together = self._beside_dependent(words)
        pieces = []
        for joined, places in itertools.groupby(range(len(words)), key=together.__getitem__):
            run = [words[place] for place in places]
            pieces.extend([" ".join(run)] if joined else run)
        return " ".join(map(self.piece, pieces))

    def _piece(self, piece: str) -> str:
        if piece.isalpha() and not self.is_dependent(piece) and not self.replaced.search(piece):
            return str(self.spellings.get(piece, piece))
        return self.whole(piece).strip()

    def _is_dependent(self, word: str) -> bool:
        return not self.dependent.isdisjoint(self._WORDS.findall(word))

    def _beside_dependent(self, words: list[str]) -> list[bool]:
        """Say of each word whether it is dependent or beside a run of such words and of "and" and "a"."""
        together = [False] * len(words)
        place = 0
        while place < len(words):
            end = place
            while end < len(words) and (words[end] in ("and", "a") or self.is_dependent(words[end])):
                end += 1
            if any(map(self.is_dependent, words[place:end])):
                first, last = max(place - 1, 0), min(end + 1, len(words))
                together[first:last] = [True] * (last - first)
            place = max(end, place + 1)
        return together


def _library(module: str) -> Any:
    try:
        return importlib.import_module(f"whisper_normalizer.{module}")
    except ImportError as error:
        raise MissingExtraError(
            f'Whisper\'s normalisers need {LIBRARY}: pip install "auricle[evaluate]", or choose another normaliser: '
            "english, basic, none"
        ) from error


def _version() -> str:
    return f"{LIBRARY} {importlib.metadata.version(LIBRARY)}"
