"""Between text and a CTC model's labels: the checkpoint's own vocabulary, or a new one built from the text.

A tokenizer made here is written in the Hub's files, so that what was trained is what is loaded.
"""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from auricle.errors import OptionError
from auricle.text import SubwordTokenizer, Tokenizer
from auricle.training.labels import LabelRules
from auricle.training.vocabulary import Vocabulary

BLANK = "<pad>"
_SPACE = "▁"  # how a tokenizer.json of Parakeet writes the space
# What may stand beside the weights of a checkpoint whose vocabulary is kept.
TOKENIZER_FILES = (
    "vocab.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


@dataclass(frozen=True)
class Labels:
    """How text becomes labels and labels become text."""

    tokenizer: Tokenizer
    rules: LabelRules
    characters: frozenset[str]  # that some label writes
    folder: Path | None = None  # whose tokenizer is kept; None: it is new
    vocabulary: Vocabulary | None = None  # of a new one
    backend: Backend | None = None  # of a new one in Parakeet's form

    @property
    def is_new(self) -> bool:
        """Whether the head has to learn it."""
        return self.folder is None

    @property
    def name(self) -> str:
        """What tells it from others."""
        if self.folder is None:
            files = [json.dumps(sorted(self.characters))]
        else:
            paths = [self.folder / name for name in TOKENIZER_FILES]
            files = [path.read_text("utf-8") for path in paths if path.is_file()]
        return json.dumps([self.rules.to_json(), type(self.tokenizer).__name__, files])

    def spelled(self, text: str) -> str:
        """The text as labels are to say it."""
        return self.rules.normalize(text)

    def missing(self, spelled: str) -> str:
        """Letters, marks and digits of a spelled text that have no label, each once.

        Signs that have none divide words, and are not missed.
        """
        absent = set(spelled) - self.characters
        return "".join(sorted(one for one in absent if unicodedata.category(one)[0] in "LMN"))

    def encode(self, spelled: str) -> list[int]:
        """The labels of a spelled text."""
        kept = "".join(one if one in self.characters else " " for one in spelled)
        return self.tokenizer.encode(" ".join(kept.split()))

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files."""
        if self.folder is not None:
            for name in TOKENIZER_FILES:
                if (self.folder / name).is_file() and self.folder != folder:
                    shutil.copyfile(self.folder / name, folder / name)
        elif self.backend is not None:
            self.backend.save(str(folder / "tokenizer.json"))
            settings = json.dumps(_parakeet_settings(), indent=2)
            (folder / "tokenizer_config.json").write_text(f"{settings}\n", encoding="utf-8")
        elif self.vocabulary is not None:
            self.vocabulary.save(folder)


def kept_labels(tokenizer: Tokenizer, folder: Path, locale: str | None) -> Labels:
    """The vocabulary that a checkpoint has: its letters say the case, and its punctuation is learned."""
    characters = frozenset("".join(tokenizer.piece(id) for id in range(tokenizer.vocab_size)))
    lower, upper = any(map(str.islower, characters)), any(map(str.isupper, characters))
    case = "keep" if lower and upper else "upper" if upper else "lower"
    signs = [one for one in characters if unicodedata.category(one)[0] in "PS" and one not in "'-"]
    return Labels(tokenizer, LabelRules(locale, case=case, kept="".join(sorted(signs))), characters | {" "}, folder)


def new_labels(vocabulary: Vocabulary, family: str) -> Labels:
    """A vocabulary of single characters in the form that a family's checkpoints have.

    Raises:
        OptionError: it has the character that stands for the space in Parakeet's files.
    """
    characters = frozenset(vocabulary.characters) | {" "}
    if family != "parakeet_ctc":
        return Labels(vocabulary.tokenizer(), vocabulary.rules, characters, vocabulary=vocabulary)
    if _SPACE in characters:
        raise OptionError(f"the training text has {_SPACE!r}, which stands for the space in Parakeet's vocabularies")
    letters = (" ", *vocabulary.characters)
    backend = letter_backend(letters)
    tokenizer = SubwordTokenizer(backend, _parakeet_settings(), len(letters))
    return Labels(tokenizer, vocabulary.rules, characters, vocabulary=vocabulary, backend=backend)


def letter_backend(letters: Sequence[str]) -> Backend:
    """A tokenizer whose pieces are these letters, in their order, and the blank after them."""
    vocabulary = {letter.replace(" ", _SPACE): index for index, letter in enumerate(letters)}
    backend = Backend(models.BPE(vocab={**vocabulary, BLANK: len(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="never", split=False)
    backend.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="never", split=False)
    backend.add_special_tokens([AddedToken(BLANK, special=True, normalized=False)])
    return backend


def _parakeet_settings() -> dict[str, Any]:
    return {"tokenizer_class": "ParakeetTokenizer", "pad_token": BLANK}
