"""A language model's file in, what the search asks out; the kind is told by looking at the file."""

from __future__ import annotations

from pathlib import Path

from auricle.decoding.compact_ngram import CompactNGram
from auricle.decoding.ngram import KENLM_MAGIC, KenLM, LanguageModel, NGram
from auricle.errors import OptionError


def open_language_model(path: str | Path) -> LanguageModel:
    """Open a compact model (.safetensors), an ARPA file (plain or .gz) or a KenLM binary.

    The last two are told apart by their first bytes.

    Raises: OptionError if the file is missing or none of them; MissingExtraError for a binary without kenlm.
    """
    path = Path(path)
    if not path.is_file():
        raise OptionError(f"lm={str(path)!r} is no file; expected a compact model, an ARPA file or a KenLM binary")
    if path.suffix == ".safetensors":
        return CompactNGram.from_file(path)
    with path.open("rb") as file:
        is_binary = file.read(len(KENLM_MAGIC)) == KENLM_MAGIC
    return KenLM(path) if is_binary else NGram.from_arpa(path)
