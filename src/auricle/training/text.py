"""The written form that the bundled model learns: lower-case letters, apostrophes inside words, single spaces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

ALPHABET = " 'abcdefghijklmnopqrstuvwxyz"

_NOT_SPOKEN = re.compile(r"[^a-z' ]+")
_LOOSE_APOSTROPHE = re.compile(r"(?<![a-z])'|'(?![a-z])")
_SENTENCE_END = re.compile(r"(?<=[.!?;:])[\"')\]]*\s+")


def spoken_form(text: str) -> str | None:
    """Return the letters of `text` in the model's alphabet, or None where digits or symbols hide what is said."""
    decomposed = unicodedata.normalize("NFKD", text.replace("’", "'")).lower()
    folded = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    if re.search(r"[0-9$£€%&@#=+*/<>]", folded):
        return None
    folded = _NOT_SPOKEN.sub(" ", folded)
    words = _LOOSE_APOSTROPHE.sub("", folded).split()
    return " ".join(words) or None


def sentences(folder: Path) -> Iterator[str]:
    """Yield sentences of 3 to 24 words from the text files under `folder`, each once, in a fixed order."""
    seen: set[str] = set()
    for path in sorted(folder.rglob("*.txt")):
        if path.name == "SOURCE.txt":
            continue
        raw = path.read_bytes()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        for paragraph in text.splitlines():
            for sentence in _SENTENCE_END.split(paragraph.strip()):
                form = spoken_form(sentence)
                if form and 3 <= len(form.split()) <= 24 and len(form) <= 140 and form not in seen:
                    seen.add(form)
                    yield sentence.strip()
