"""Text in, ids out, and back: character vocabularies and subword tokenizers behind one small protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from auricle.errors import ConfigError
from auricle.text.characters import CharacterTokenizer
from auricle.text.tokenizer import SubwordTokenizer
from auricle.text.writing import WritingTokenizer

__all__ = ["CharacterTokenizer", "SubwordTokenizer", "Tokenizer", "WritingTokenizer", "open_tokenizer"]

# Families whose checkpoints come with a plain vocab.json of characters.
CHARACTER_FAMILIES = frozenset({"wav2vec2", "hubert", "wavlm", "whisper_ctc"})


class Tokenizer(Protocol):
    """What a recogniser needs to know about its vocabulary."""

    vocab_size: int
    blank: int  # the CTC blank, which is the padding token; -1 where there is none

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, without special tokens; for CTC the ids are collapsed already."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, with no special tokens around them."""
        ...

    def piece(self, id: int) -> str:
        """Return what one id writes, a word boundary shown as " "; special tokens write nothing."""
        ...


def open_tokenizer(folder: Path, model_type: str, target_lang: str | None = None, *, writes: bool = False) -> Tokenizer:
    """Open the tokenizer that lies in a checkpoint folder; of a model that `writes` text, with all of its tokens.

    `target_lang` chooses among the vocabularies of a multilingual character checkpoint (MMS); other
    tokenizers refuse it.

    Raises: ConfigError where files are missing or malformed; OptionError for a language that is not there.
    """
    folder = Path(folder)
    if writes:
        return WritingTokenizer.from_folder(folder, model_type)
    has_vocabulary = (folder / "vocab.json").is_file()
    if has_vocabulary and (model_type in CHARACTER_FAMILIES or not (folder / "tokenizer.json").is_file()):
        if (folder / "merges.txt").is_file():
            return SubwordTokenizer.from_folder(folder, target_lang)
        return CharacterTokenizer.from_folder(folder, target_lang)
    if (folder / "tokenizer.json").is_file():
        return SubwordTokenizer.from_folder(folder, target_lang)
    expected = "vocab.json" if model_type in CHARACTER_FAMILIES else "tokenizer.json"
    raise ConfigError(
        f"{folder} has no tokenizer: expected {expected} for model_type {model_type!r}; "
        "copy the tokenizer files of the checkpoint beside its config.json"
    )
