"""Subword vocabularies, read and run by the `tokenizers` library: Parakeet, Whisper, Moonshine."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from auricle.errors import ConfigError, OptionError, nearest
from auricle.text.characters import CLEAN_UP, read_object, read_settings, read_utf8

SECONDS_PER_TIMESTAMP = 0.02  # Whisper's timestamp tokens count steps of two encoder frames' hop, 20 ms
N_TIMESTAMPS = 1501  # of them, from 0.00 to 30.00 s; ids behind the last are tokens that somebody added
# Sequence-to-sequence families, or no config.json at all: their padding token is often the end of text.
WITHOUT_BLANK = frozenset({"whisper", "moonshine", None})
WORD_BOUNDARY = "▁"  # how SentencePiece vocabularies write the space before a word


class SubwordTokenizer:
    """A tokenizer.json with what CTC and Whisper need besides: the blank, named tokens, timestamps."""

    def __init__(self, backend: Backend, settings: dict[str, Any], blank: int = -1) -> None:
        """Take the library's tokenizer, the merged tokenizer_config.json, and the blank's id (-1: none)."""
        self._backend = backend
        self.vocab_size = max(backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self.blank = blank
        added = backend.get_added_tokens_decoder()
        named = re.compile(r"<\|.*\|>")
        # Old Whisper files mark neither tasks nor timestamps as special, but none of them is text.
        self._special = {id for id, token in added.items() if token.special or named.fullmatch(token.content)}
        self._special |= {id for id in map(backend.token_to_id, _special_names(settings)) if id is not None}
        self._special.add(blank)
        no_timestamps = backend.token_to_id("<|notimestamps|>")
        self.timestamp_begin = -1 if no_timestamps is None else no_timestamps + 1
        # The English clean-up eats true spaces of a BPE vocabulary, so that it is applied to others only.
        wanted = bool(settings.get("clean_up_tokenization_spaces"))
        self._clean_up = wanted and not isinstance(backend.model, models.BPE)

    @classmethod
    def from_folder(cls, folder: Path, target_lang: str | None = None) -> SubwordTokenizer:
        """Read tokenizer.json, or vocab.json and merges.txt of a byte-level BPE, and their companions.

        Raises: ConfigError for missing or malformed files; OptionError for a `target_lang`, which belongs to
            character vocabularies.
        """
        folder = Path(folder)
        if target_lang is not None:
            raise OptionError(
                f"target_lang={target_lang!r}, but the subword vocabulary of {folder} serves all "
                "languages; leave target_lang out"
            )
        settings = read_settings(folder)
        has_file = (folder / "tokenizer.json").is_file()
        backend = read_backend(folder) if has_file else byte_level_bpe(folder, settings)
        return cls(backend, settings, _blank_of(folder, settings, backend))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without special tokens, blanks and timestamps.

        Whisper's text keeps its leading space.
        """
        return self._text([id for id in ids if id not in self._special and not self._is_timestamp(id)])

    def decode_with_timestamps(self, ids: Sequence[int]) -> str:
        """Return the text with timestamps written as `<|1.08|>` and other special tokens left out."""
        if self.timestamp_begin < 0:
            raise OptionError("this vocabulary has no timestamp tokens; only Whisper's have, use decode")
        parts: list[str] = []
        run: list[int] = []
        for id in ids:
            if self._is_timestamp(id):
                seconds = (id - self.timestamp_begin) * SECONDS_PER_TIMESTAMP
                parts += [self._text(run), f"<|{seconds:.2f}|>"]
                run = []
            elif id not in self._special:
                run.append(id)
        return "".join([*parts, self._text(run)])

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text` with no special tokens around them."""
        return ids_of(self._backend, text)

    def special(self, token: str) -> int:
        """Return the id of a named token such as `<|en|>`.

        Raises: ConfigError naming the token and the nearest that exist.
        """
        id = self._backend.token_to_id(token)
        if id is None:
            names = [added.content for added in self._backend.get_added_tokens_decoder().values()]
            raise ConfigError(f"the tokenizer has no token {token!r}{nearest(token, names)}")
        return id

    def has_special(self, token: str) -> bool:
        """Say whether a named token exists; English-only Whisper has no language tokens, for example."""
        return self._backend.token_to_id(token) is not None

    def piece(self, id: int) -> str:
        """Return what one id writes, the space before a word as " "; special tokens write nothing.

        A piece of a byte-level vocabulary that ends within a character shows a replacement character there.
        """
        token = None if id in self._special else self._backend.id_to_token(id)
        if token is None:
            return ""
        if not self._is_byte_level:
            return token.replace(WORD_BOUNDARY, " ")
        # Added tokens are written as they are; the library's decoder tells them by letters that stand for no byte.
        if not all(character in BYTES for character in token):
            return token
        return bytes(BYTES[character] for character in token).decode("utf-8", errors="replace")

    def _is_timestamp(self, id: int) -> bool:
        return 0 <= self.timestamp_begin <= id < self.timestamp_begin + N_TIMESTAMPS

    @cached_property
    def _is_byte_level(self) -> bool:
        return '"ByteLevel"' in json.dumps(json.loads(self._backend.to_str())["decoder"])

    def _text(self, ids: list[int]) -> str:
        text = self._backend.decode(ids, skip_special_tokens=False)
        if self._clean_up:
            for written, clean in CLEAN_UP:
                text = text.replace(written, clean)
        return text


def _special_names(settings: dict[str, Any]) -> list[str]:
    names = [value for key, value in settings.items() if key.endswith("_token") and isinstance(value, str)]
    for extra in settings.get("additional_special_tokens") or []:
        names.append(extra["content"] if isinstance(extra, dict) else extra)
    return names


def _blank_of(folder: Path, settings: dict[str, Any], backend: Backend) -> int:
    """Return the CTC blank: the padding token by its name and by config.json's id, which must agree."""
    config = read_object(folder / "config.json")
    if config.get("model_type") in WITHOUT_BLANK:
        return -1
    stated = config.get("pad_token_id")
    named = backend.token_to_id(settings["pad_token"]) if "pad_token" in settings else None
    if stated is None and named is None:
        raise ConfigError(
            f"{folder}: neither pad_token_id in config.json nor pad_token in tokenizer_config.json names the "
            "CTC blank; add pad_token_id to config.json"
        )
    if stated is not None and named is not None and stated != named:
        raise ConfigError(
            f"{folder}: config.json has pad_token_id {stated}, but the tokenizer's pad_token "
            f"{settings['pad_token']!r} is {named}; both are the CTC blank and must be the same"
        )
    return int(named if stated is None else stated)  # type: ignore[arg-type]  # one of them is stated


def read_backend(folder: Path) -> Backend:
    """Read tokenizer.json.

    Raises: ConfigError if it is malformed.
    """
    path = folder / "tokenizer.json"
    text = read_utf8(path)
    try:
        return Backend.from_str(text)
    except Exception as error:  # the library raises plain Exception for every malformed file
        raise ConfigError(f"{path} cannot be read as a tokenizer: {error}; fetch the file again") from error


def ids_of(backend: Backend, text: str, add_special_tokens: bool = False) -> list[int]:
    """Return the ids of `text`.

    Raises: OptionError where it has half a character, as bytes become that are no UTF-8.
    """
    try:
        return backend.encode(text, add_special_tokens=add_special_tokens).ids
    except TypeError as error:
        half = re.search("[\ud800-\udfff]", text)
        if half is None:
            raise
        raise OptionError(
            f"the text has half of a character (U+{ord(half[0]):04X} at place {half.start()}), which no tokenizer "
            "reads; decode what it was made of as UTF-8"
        ) from error


def byte_level_bpe(folder: Path, settings: dict[str, Any]) -> Backend:
    """Build the tokenizer of a checkpoint that has only vocab.json, merges.txt and its added tokens."""
    vocabulary = read_object(folder / "vocab.json", required=True)
    path = folder / "merges.txt"
    if not path.is_file():
        raise ConfigError(f"{folder} has neither tokenizer.json nor merges.txt; copy one of them from the checkpoint")
    lines = read_utf8(path).splitlines()
    pairs = [line.partition(" ") for line in lines if line and not line.startswith("#version")]
    merges = [(left, right) for left, _, right in pairs]
    if not all(left and right and " " not in right for left, right in merges):
        raise ConfigError(f"{path}: every line must hold two pieces and one space; fetch the file again")
    backend = Backend(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    # Ids are given by the order of adding, so that the added tokens are sorted by their stated ids.
    added = sorted(settings["added_tokens"].items(), key=lambda item: item[1])
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token, _ in added])
    wrong = [token for token, id in added if backend.token_to_id(token) != id]
    if wrong:
        raise ConfigError(
            f"{folder}: the ids of the added tokens do not follow vocab.json without a gap, first at "
            f"{wrong[0]!r}; use a checkpoint with tokenizer.json"
        )
    return backend


def _byte_alphabet() -> dict[str, int]:
    """Return the printable character that byte-level BPE writes for each byte, reversed.

    Bytes that print stand for themselves; the others take the characters from U+0100 on, in order.
    Source: openai/gpt-2 encoder.py:9-29.
    """
    ranges = (("!", "~"), ("¡", "¬"), ("®", "ÿ"))
    printable = [byte for first, last in ranges for byte in range(ord(first), ord(last) + 1)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(hidden)}


BYTES = _byte_alphabet()
