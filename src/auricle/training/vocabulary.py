"""The characters that a CTC model learns to write, made of the texts it is trained on.

Only the training split makes it: characters that nothing but the validation split has cannot be learned, and are
reported instead. The order is that of code points, so that the same texts give the same ids on every machine.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auricle.errors import OptionError
from auricle.text.characters import CharacterTokenizer, read_object
from auricle.training.labels import LabelRules, Removed

DELIMITER = "|"  # what a space is called
UNKNOWN, PAD = "[UNK]", "[PAD]"  # the second is the CTC blank
RARE = 10  # occurrences below which a character is hardly learned


@dataclass(frozen=True)
class Vocabulary:
    """Characters with their ids: the space first, then by code point, then [UNK] and [PAD]."""

    characters: tuple[str, ...]  # without the space
    rules: LabelRules
    counts: Mapping[str, int] = field(default_factory=dict)  # of each character in the texts
    removed: Removed = field(default_factory=Removed)

    @property
    def ids(self) -> dict[str, int]:
        """Every token with its id, as vocab.json holds them."""
        return {token: id for id, token in enumerate((DELIMITER, *self.characters, UNKNOWN, PAD))}

    def __len__(self) -> int:
        return len(self.characters) + 3

    @property
    def blank(self) -> int:
        """The id of [PAD]."""
        return len(self) - 1

    def tokenizer(self) -> CharacterTokenizer:
        """What turns labels into ids and back."""
        return CharacterTokenizer(self.ids, _settings())

    def rare(self, least: int = RARE) -> dict[str, int]:
        """Characters that the texts have fewer than `least` times, the rarest first."""
        return {character: n for character, n in sorted(self.counts.items(), key=lambda pair: pair[1]) if n < least}

    def digits(self) -> dict[str, int]:
        """Digits of any script: spoken as words, and not written as they are spoken."""
        found = [character for character in self.characters if unicodedata.category(character)[0] == "N"]
        return {character: self.counts.get(character, 0) for character in found}

    def outside(self, texts: Iterable[str]) -> dict[str, int]:
        """Characters of other texts, normalised, that have no id, and how often they occur."""
        known = {*self.characters, " "}
        found: Counter[str] = Counter()
        for text in texts:
            found.update(character for character in self.rules.normalize(text) if character not in known)
        return dict(found.most_common())

    def save(self, folder: Path, language: str | None = None) -> None:
        """Write vocab.json, tokenizer_config.json and special_tokens_map.json, as the Hub's tokenizer reads them.

        With a `language`, vocab.json holds one vocabulary for each, and those that are there already stay.
        """
        folder.mkdir(parents=True, exist_ok=True)
        settings, content = _settings(), dict[str, Any](self.ids)
        if language is not None:
            others = read_object(folder / "vocab.json")
            content = {**{name: ids for name, ids in others.items() if isinstance(ids, dict)}, language: self.ids}
            settings["target_lang"] = language
        special = {role: settings[role] for role in ("pad_token", "unk_token")}
        for name, value in (
            ("vocab.json", content),
            ("tokenizer_config.json", settings),
            ("special_tokens_map.json", special),
        ):
            (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def build_vocabulary(texts: Iterable[str], locale: str | None = None, rules: LabelRules | None = None) -> Vocabulary:
    """Collect the characters of a training split's texts.

    `locale` stands for the default rules of a language; give `rules` for others.

    Raises:
        OptionError: both are given, or no text has a character that is kept.
    """
    if locale is not None and rules is not None:
        raise OptionError(f"locale {locale!r} and rules arrived together; set the locale of the rules")
    rules = rules or LabelRules(locale)
    counts: Counter[str] = Counter()
    removed = Removed()
    n_texts = 0
    for text in texts:
        n_texts += 1
        counts.update(rules.normalize(text, removed.counts))
    counts.pop(" ", None)
    # What stands for the space cannot be a character, too.
    if not counts or (counts.pop(DELIMITER, 0) and not counts):
        raise OptionError(
            f"no character is left of {n_texts} texts to make a vocabulary of; check the column of the text, "
            f"and what is ignored ({rules.chars_to_ignore!r})"
        )
    return Vocabulary(tuple(sorted(counts)), rules, dict(counts), removed)


def _settings() -> dict[str, Any]:
    return {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "bos_token": None,  # of the Hub's defaults: two outputs that nothing ever uses
        "eos_token": None,
        "unk_token": UNKNOWN,
        "pad_token": PAD,
        "word_delimiter_token": DELIMITER,
        "replace_word_delimiter_char": " ",
        "do_lower_case": False,
    }
