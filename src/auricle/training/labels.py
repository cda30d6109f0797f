"""What a text becomes before it is learned, and before it is scored: one function for both.

Letters in lower case as the language writes them, punctuation that nobody hears removed, words apart by one space.
Digits and symbols such as "%" are spoken as words that the text does not say: digits stay, and who builds a vocabulary
is told of both.

Source: Unicode Standard, chapter 4.5 (general categories) and SpecialCasing.txt (Turkish, Lithuanian, final sigma).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from auricle.errors import OptionError

CASES = ("lower", "upper", "keep")
# Written between the letters of a word in many ways; one of them is learned.
APOSTROPHES = frozenset("'’‘ʼ´`＇")
HYPHENS = frozenset("-‐‑")
# Languages whose words have none, so that the sign is a quotation mark there.
WITHOUT_APOSTROPHE = frozenset("bg es hi ja km ko lo mk mr my ne ru th zh".split())
WITHOUT_HYPHEN = frozenset("ja km ko lo my th zh".split())
# Words that begin with an apostrophe: Dutch "'t", Afrikaans "'n".
APOSTROPHE_BEGINS = frozenset({"af", "nl"})
DOTTED = frozenset({"az", "crh", "tr"})  # I and ı, İ and i are two letters
# A joiner changes how a word is written, and what it means, in these.
JOINED = frozenset("as bn ckb fa gu hi kn ku ml mr ne or pa ps ta te ur".split())
JOINERS = frozenset("\u200c\u200d")
# Codes of three letters (ISO 639-3), as MMS has them, of the languages that are named here.
SHORTER = dict(
    pair.split(":")
    for pair in (
        "afr:af asm:as aze:az azb:az azj:az bul:bg ben:bn spa:es fas:fa pes:fa prs:fa gle:ga guj:gu hin:hi "
        "jpn:ja khm:km kan:kn kor:ko kmr:ku kur:ku lit:lt lao:lo mkd:mk mal:ml mar:mr mya:my nep:ne npi:ne "
        "nld:nl ori:or ory:or pan:pa pus:ps rus:ru tam:ta tel:te tha:th tur:tr urd:ur zho:zh cmn:zh"
    ).split()
)
DOT_ABOVE = "\u0307"
_SOFT_DOTTED = re.compile(f"([ijįⅰ]){DOT_ABOVE}")  # letters that have a dot of their own
_IRISH_PREFIX = re.compile(r"\b([nt])(?=[AEIOUÁÉÍÓÚ])")  # "nAthair" is "n-athair" in lower case


@dataclass(frozen=True)
class LabelRules:
    """How texts are written as labels; kept with a trained model, so that it is scored as it was taught."""

    locale: str | None = None  # "tr", "pt-BR", "zh_CN"; None: no language's own rules
    case: str = "lower"  # or "upper", "keep"
    compatibility: bool = False  # NFKC, which writes "ﬁ" and "Ａ" as "fi" and "A", instead of NFC
    keep_punctuation: bool = False
    chars_to_ignore: str = ""  # removed whatever else is said; what they divide is joined
    kept: str = ""  # punctuation and symbols to keep: those of a vocabulary that exists already

    def __post_init__(self) -> None:
        if self.case not in CASES:
            raise OptionError(f"case is {self.case!r}; expected one of {', '.join(CASES)}")

    @property
    def language(self) -> str | None:
        """The locale's language: "pt" of "pt-BR"."""
        code = re.split(r"[-_]", self.locale.lower())[0] if self.locale else None
        return SHORTER.get(code, code) if code else None

    def normalize(self, text: str, removed: Counter[str] | None = None) -> str:
        """Return `text` as it is learned and scored; counts what is taken out of it in `removed`.

        Normalising twice is normalising once. Example: `LabelRules("tr").normalize("İYİ – ILIK!")` is `"iyi ılık"`.
        """
        text = _composed(text, self.compatibility)
        if self.chars_to_ignore:
            ignored = set(self.chars_to_ignore)
            if removed is not None:
                removed.update(character for character in text if character in ignored)
            text = "".join(character for character in text if character not in ignored)
        text = _cased(text, self.case, self.language)
        text = "".join(self._written(text, place, removed) for place in range(len(text)))
        return _composed(" ".join(text.split()), self.compatibility)

    def _written(self, text: str, place: int, removed: Counter[str] | None) -> str:
        """What stands for one character: itself, a space, an apostrophe, or nothing."""
        character = text[place]
        category = unicodedata.category(character)
        if category[0] in "LMN" or character in self.kept:
            return character
        if category[0] == "Z" or character.isspace():
            return " "
        before, after = text[place - 1 : place], text[place + 1 : place + 2]
        inside = _is_of_word(before) and _is_of_word(after)
        if character in APOSTROPHES and self.language not in WITHOUT_APOSTROPHE:
            begins = self.language in APOSTROPHE_BEGINS and not before.strip() and _is_of_word(after)
            if inside or begins:
                return "'"
        if character in HYPHENS and inside and self.language not in WITHOUT_HYPHEN:
            return "-"
        if character in JOINERS and inside and self.language in JOINED:
            return character
        if self.keep_punctuation and category[0] in "PS" and character != "|":
            return character
        if removed is not None:
            removed[character] += 1
        # A soft hyphen or a mark of direction divides nothing; a dash or a slash does.
        return "" if category in ("Cf", "Cs", "Co", "Cn") or character in APOSTROPHES else " "

    def to_json(self) -> dict[str, Any]:
        """The rules as JSON keeps them."""
        return dict(vars(self))


@dataclass
class Removed:
    """What normalising took out of texts, counted by character."""

    counts: Counter[str] = field(default_factory=Counter)

    def symbols(self) -> dict[str, int]:
        """Those that are spoken as words: %, €, +, &, @ and the like."""
        return {
            character: n
            for character, n in self.counts.most_common()
            if unicodedata.category(character) in ("Sc", "Sm") or character in "%‰&@#°§№"
        }


def _composed(text: str, compatibility: bool) -> str:
    return unicodedata.normalize("NFKC" if compatibility else "NFC", text)


def _is_of_word(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] in "LMN"


def _cased(text: str, case: str, language: str | None) -> str:
    if case == "keep":
        return text
    if case == "upper":
        text = text.replace("i", "İ").replace("ı", "I") if language in DOTTED else text
        # "ß".upper() is "SS", which no listener can tell from it and no vocabulary takes back.
        return "".join(letter if letter == "ß" else letter.upper() for letter in text)
    if language == "ga":
        text = _IRISH_PREFIX.sub(r"\1-", text)
    if language in DOTTED:
        text = text.replace("I" + DOT_ABOVE, "i").replace("I", "ı")
    # "İ".lower() is "i" and a combining dot, which would be a letter of its own in a vocabulary.
    return _SOFT_DOTTED.sub(r"\1", text.replace("İ", "i").lower())
