"""A simple normaliser for scoring English: what is compared is words, not how they are written."""

from __future__ import annotations

import re
import unicodedata

_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "‘": "'", "`": "'"})
# An apostrophe stays between letters, as in "don't"; what is no letter or digit divides words.
_NOT_A_WORD = re.compile(r"(?<!\w)'|'(?!\w)|[^\w']|_")


def normalize_english(text: str) -> str:
    """Return `text` in lower case without punctuation, single-spaced; apostrophes inside words stay.

    Numbers, abbreviations and spelling variants are left alone, so that figures can be checked by hand.
    Example: `"Don’t -- he said, 'Stop!'"` gives `"don't he said stop"`.
    """
    folded = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).lower()
    return " ".join(_NOT_A_WORD.sub(" ", folded).split())
