"""The character vocabularies of CTC checkpoints: vocab.json, flat or one per language (MMS).

Written forms follow the Hub's Wav2Vec2CTCTokenizer: the padding token is the CTC blank, the token named by
`word_delimiter_token` is the space, and special tokens that vocab.json lacks take the ids after it. So do those of its
Wav2Vec2PhonemeCTCTokenizer, whose tokens are phones and not letters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auricle.errors import ConfigError, OptionError, nearest

# The defaults of the Hub's tokenizer class, for checkpoints without tokenizer_config.json.
DEFAULTS: dict[str, Any] = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "word_delimiter_token": "|",
    "replace_word_delimiter_char": " ",
    "do_lower_case": False,
    "clean_up_tokenization_spaces": False,
}
DELIMITER = "word_delimiter_token"
SPECIAL_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
OPTIONAL = frozenset({"bos_token", "eos_token"})
# English detokenisation that a checkpoint can ask for with clean_up_tokenization_spaces, in the Hub's order.
CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
# Its tokens are phones, which are written apart: "n ə l". What it marks words with, if anything, is not written.
PHONES = "Wav2Vec2PhonemeCTCTokenizer"
SUPPORTED_CLASSES = frozenset({"Wav2Vec2CTCTokenizer", "Wav2Vec2Tokenizer", PHONES})


class CharacterTokenizer:
    """Characters to ids and back; `blank` is the padding token."""

    def __init__(self, vocabulary: Mapping[str, int], settings: Mapping[str, Any] | None = None) -> None:
        """Take a flat vocabulary and the settings of tokenizer_config.json by their own names.

        Example: `CharacterTokenizer({"<pad>": 0, "|": 1, "a": 2}).decode([2, 1, 2])` is `"a a"`.

        Raises: ConfigError if the padding token, which is the blank, has no id.
        """
        given = settings or {}
        # Of the tokens that only some checkpoints have, null says that there is none.
        merged = {**DEFAULTS, **{key: value for key, value in given.items() if value is not None or key in OPTIONAL}}
        ids = dict(vocabulary)
        specials = [merged[role] for role in SPECIAL_ROLES if merged[role] is not None]
        if merged["pad_token"] not in ids:
            raise ConfigError(
                f"the padding token {merged['pad_token']!r}, which is the CTC blank, has no id; "
                f"set pad_token in tokenizer_config.json{nearest(merged['pad_token'], ids)}"
            )
        for token in specials:
            ids.setdefault(token, max(ids.values()) + 1)
        self.vocab_size = max(ids.values()) + 1
        self.blank = ids[merged["pad_token"]]
        self.unknown = ids[merged["unk_token"]] if merged["unk_token"] in vocabulary else -1
        self.target_lang: str | None = None
        self._ids = ids
        self._lower = bool(merged["do_lower_case"])
        self._clean_up = bool(merged["clean_up_tokenization_spaces"])
        self._has_phones = given.get("tokenizer_class") == PHONES
        # Between phones there may be none: its name is then one that no token has.
        self._delimiter: str = (given.get(DELIMITER) or "") if self._has_phones else merged[DELIMITER]
        before = " " if self._has_phones else ""
        self._pieces = [""] * self.vocab_size
        for token, id in ids.items():
            if token == self._delimiter:
                self._pieces[id] = "" if self._has_phones else merged["replace_word_delimiter_char"]
            elif token not in specials:
                self._pieces[id] = before + (token.lower() if self._lower else token)
        several = sorted((token for token in ids if len(token) > 1 and token not in specials), key=len, reverse=True)
        self._splitter = re.compile("|".join([*map(re.escape, several), "."]), re.DOTALL)

    @classmethod
    def from_folder(cls, folder: Path, target_lang: str | None = None) -> CharacterTokenizer:
        """Read vocab.json, tokenizer_config.json, special_tokens_map.json and added_tokens.json.

        Raises: ConfigError for missing or malformed files; OptionError for a language that is not there.
        """
        folder = Path(folder)
        vocabulary = read_object(folder / "vocab.json", required=True)
        settings = read_settings(folder)
        stated = read_object(folder / "tokenizer_config.json")
        settings.update({role: None for role in OPTIONAL if role in stated and stated[role] is None})
        tokenizer_class = settings.get("tokenizer_class", "Wav2Vec2CTCTokenizer")
        if tokenizer_class not in SUPPORTED_CLASSES:
            raise ConfigError(
                f"{folder / 'tokenizer_config.json'}: tokenizer_class {tokenizer_class!r} is not supported "
                f"with vocab.json; expected one of {', '.join(sorted(SUPPORTED_CLASSES))}"
            )
        language = target_lang
        if any(isinstance(value, dict) for value in vocabulary.values()):
            language = target_lang or settings.get("target_lang")
            vocabulary = _of_language(vocabulary, language, folder)
        elif target_lang is not None:
            raise OptionError(
                f"target_lang={target_lang!r}, but {folder} has a single vocabulary; leave target_lang out"
            )
        if not all(isinstance(id, int) and id >= 0 for id in vocabulary.values()):
            raise ConfigError(f"{folder / 'vocab.json'} must map characters to whole numbers; fetch the file again")
        taken = set(vocabulary.values())
        # Of two tokens that claim one id the vocabulary's own wins: added tokens may stem from another
        # language.
        added = {token: id for token, id in settings["added_tokens"].items() if id not in taken}
        if settings.get("pad_token", DEFAULTS["pad_token"]) not in {**vocabulary, **added}:
            # Old checkpoints name the blank in config.json alone, by its id.
            blank = read_object(folder / "config.json").get("pad_token_id")
            names = [token for token, id in vocabulary.items() if id == blank]
            settings["pad_token"] = names[0] if names else settings.get("pad_token")
        tokenizer = cls({**added, **vocabulary}, settings)
        tokenizer.target_lang = language
        return tokenizer

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of collapsed ids; special tokens and ids past the vocabulary write nothing."""
        text = "".join(self._pieces[id] for id in ids if id < self.vocab_size).strip()
        if self._clean_up:
            for written, clean in CLEAN_UP:
                text = text.replace(written, clean)
        return text

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, its spaces as word delimiters; unknown characters become `<unk>`.

        Of phones the spaces only tell one from the next.

        Raises: OptionError for unknown characters where the vocabulary has no unknown token.
        """
        if self._lower:
            text = text.upper()
        tokens = text.split() if self._has_phones else self._splitter.findall(text.replace(" ", self._delimiter))
        ids = [self._ids.get(token, self.unknown) for token in tokens]
        if -1 in ids:
            missing = sorted({token for token, id in zip(tokens, ids, strict=True) if id == -1})
            raise OptionError(
                f"the text has {''.join(missing)!r}, which the vocabulary of {self.vocab_size} tokens cannot "
                "write; remove or replace these characters"
            )
        return ids

    def piece(self, id: int) -> str:
        """Return what one id writes: a character, or " " and a phone; " " for the word delimiter.

        Special tokens write nothing.
        """
        if not self._has_phones and id == self._ids.get(self._delimiter):
            return " "
        return self._pieces[id] if id < self.vocab_size else ""


def _of_language(vocabulary: dict[str, Any], language: str | None, folder: Path) -> dict[str, int]:
    languages = sorted(vocabulary)
    listed = ", ".join(languages[:20]) + (f" and {len(languages) - 20} more" if len(languages) > 20 else "")
    if language is None:
        raise OptionError(f"{folder} holds one vocabulary per language: give target_lang, one of {listed}")
    if language not in vocabulary:
        raise OptionError(
            f"target_lang={language!r} is not in {folder / 'vocab.json'}, which has {listed}"
            f"{nearest(language, languages)}"
        )
    return vocabulary[language]


def read_object(path: Path, required: bool = False) -> dict[str, Any]:
    """Return the JSON object in `path`, or an empty one if there is no such file and none is required."""
    if not path.is_file():
        if required:
            raise ConfigError(f"{path} is missing; copy the checkpoint's tokenizer files beside its config.json")
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}; fetch the file again") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds a {type(value).__name__}, expected a JSON object; fetch the file again")
    return value


def read_utf8(path: Path) -> str:
    """Return the text of a checkpoint's file, without a byte order mark.

    Raises: ConfigError for other encodings, and for a git-LFS pointer in its place.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}; fetch the file again") from error
    if text.startswith("version https://git-lfs"):
        raise ConfigError(
            f"{path} is a git-LFS pointer and not the file; run 'git lfs pull' in {path.parent}, or download the model "
            "by its Hub name"
        )
    return text


def read_settings(folder: Path) -> dict[str, Any]:
    """Merge a tokenizer's companion files: settings, special tokens as plain strings, and `added_tokens`."""
    config = read_object(folder / "tokenizer_config.json")
    named = {**read_object(folder / "special_tokens_map.json"), **config}
    settings = {
        key: value["content"] if isinstance(value, dict) and "content" in value else value
        for key, value in named.items()
        if value is not None
    }
    added = read_object(folder / "added_tokens.json")
    for id, token in config.get("added_tokens_decoder", {}).items():
        added.setdefault(token["content"] if isinstance(token, dict) else token, int(id))
    settings["added_tokens"] = added
    return settings
