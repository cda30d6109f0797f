"""Write spoken words with the vocabulary that a CTC model has: its case, its accents, its pieces."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from auricle.decoding.forced_graph import Reading
from auricle.errors import OptionError
from auricle.text import Tokenizer

# Letters that are no letter with an accent, and how they are written without them.
FOLDED = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
APOSTROPHES = dict.fromkeys("’ʼ`´‘", "'")


@dataclass(frozen=True)
class Spelling:
    """One way to say a word, in ids."""

    parts: Reading
    letters: tuple[int, ...]  # how many letters each id writes, spaces left out
    text: str  # the letters, without spaces


class Speller:
    """Spells words, and collects in `missing` the letters that cannot be written."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        pieces = [tokenizer.piece(id) for id in range(tokenizer.vocab_size)]
        self.space = pieces.index(" ") if " " in pieces else -1
        self.characters = set("".join(pieces)) - {" "}
        self.missing: set[str] = set()

    def __call__(self, spoken: str) -> Spelling | None:
        """Spell words that are separated by spaces; None if a letter of them cannot be written, or none is left."""
        parts, letters, text = [], [], ""
        for word in spoken.split():
            written = self.letters_of(word)
            if None in written:
                self.missing.update(one for one, letters in zip(word, written, strict=True) if letters is None)
                return None
            joined = "".join(letters for letters in written if letters)
            if not joined:
                continue
            ids = self._encode(joined)
            if ids is None:
                self.missing.add(word)
                return None
            parts.append(ids)
            letters += [len(self.tokenizer.piece(id).strip()) for id in ids]
            text += joined
        return Spelling(tuple(parts), tuple(letters), text) if parts else None

    def letters_of(self, word: str) -> list[str | None]:
        """What the vocabulary writes for each character: nothing for a sign, None for a letter that it lacks."""
        return [self._letter(character) for character in word]

    def _letter(self, character: str) -> str | None:
        plain = unicodedata.normalize("NFKD", FOLDED.get(character.lower(), character))
        plain = "".join(one for one in plain if not unicodedata.combining(one))
        for form in (character, APOSTROPHES.get(character, ""), unicodedata.normalize("NFC", character), plain):
            for cased in (form, form.lower(), form.upper()):
                if cased and self.characters.issuperset(cased):
                    return cased
        return None if unicodedata.category(character)[0] in "LN" else ""

    def _encode(self, word: str) -> tuple[int, ...] | None:
        try:
            ids = self.tokenizer.encode(word)
        except OptionError:
            return None
        written = "".join(map(self.tokenizer.piece, ids)).strip()
        return tuple(ids) if ids and written == word else None
