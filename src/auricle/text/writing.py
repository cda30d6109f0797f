"""The tokenizer of a model that writes text: prompts in, ids out, with the checkpoint's own special tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, models
from tokenizers import Tokenizer as Backend

from auricle.errors import ConfigError, OptionError
from auricle.text.characters import CLEAN_UP, read_settings
from auricle.text.chat import ChatTemplates
from auricle.text.tokenizer import byte_level_bpe, ids_of, read_backend

# What the Hub's class names where a folder of GPT-2 has only vocab.json and merges.txt.
GPT2_TOKENS = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
# Files that hold a vocabulary in a form that is not read here.
OTHER_FORMS = {"tokenizer.model": "SentencePiece", "tekken.json": "Tekken", "spiece.model": "SentencePiece"}
BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class WritingTokenizer:
    """Text to ids and back, as the checkpoint's tokenizer in the Hub's library does it."""

    blank = -1

    def __init__(self, backend: Backend, settings: dict[str, Any], templates: ChatTemplates) -> None:
        """Take the library's tokenizer, the merged settings of its companions, and the chat templates."""
        backend.no_truncation()
        backend.no_padding()
        self.roles = {
            name: value for name, value in settings.items() if name.endswith("_token") and isinstance(value, str)
        }
        additional, extra = settings.get("additional_special_tokens") or [], settings.get("extra_special_tokens") or []
        # A list of further tokens stands for the older one; a dictionary has further roles and their tokens.
        extra = [*extra.values(), *additional] if isinstance(extra, dict) else extra or additional
        named = [*self.roles.values(), *(one["content"] if isinstance(one, dict) else one for one in extra)]
        known = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
        backend.add_special_tokens(
            [AddedToken(one, special=True, normalized=False) for one in dict.fromkeys(named) if one not in known]
        )
        self._backend = backend
        self.templates = templates
        self.vocab_size = max(backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        added = backend.get_added_tokens_decoder()
        self.named = frozenset(added)  # tokens that no text is split into, special ones and others
        self.special = frozenset(id for id, token in added.items() if token.special)
        self.truncates_left = settings.get("truncation_side") == "left"
        stated = settings.get("model_max_length")
        # The Hub's library writes 10 to the 30 where nobody stated it.
        self.max_length = int(stated) if isinstance(stated, int | float) and stated < 1e9 else None
        self._clean_up = bool(settings.get("clean_up_tokenization_spaces"))

    @classmethod
    def from_folder(cls, folder: Path, model_type: str) -> WritingTokenizer:
        """Read tokenizer.json, or vocab.json and merges.txt of GPT-2, and their companions.

        Raises: ConfigError for missing or malformed files, and for vocabularies in other programs' forms.
        """
        settings = read_settings(folder)
        if (folder / "tokenizer.json").is_file():
            backend = read_backend(folder)
        elif model_type == "gpt2" and (folder / "vocab.json").is_file():
            settings = {**GPT2_TOKENS, **settings}
            backend = byte_level_bpe(folder, settings)
        else:
            other = next((name for name in OTHER_FORMS if (folder / name).is_file()), None)
            state = f"only {other}, a vocabulary of {OTHER_FORMS[other]}" if other else "no tokenizer.json"
            raise ConfigError(
                f"{folder} holds {state}; expected tokenizer.json. Write one where the Hub's library is installed: "
                "transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
            )
        return cls(backend, settings, ChatTemplates.from_folder(folder, settings))

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Return the ids of `text`, with the special tokens around it that the checkpoint asks for, or without.

        Raises: OptionError where it has half a character.
        """
        return ids_of(self._backend, text, add_special_tokens)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True, clean_up: bool | None = None) -> str:
        """Return the text of `ids`.

        `clean_up` takes the spaces before punctuation away, as vocabularies of words need; of byte-pair ones it would
        eat true spaces, and is not done. None: as the checkpoint says.
        """
        text = self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens)
        if (self._clean_up if clean_up is None else clean_up) and not isinstance(self._backend.model, models.BPE):
            for written, clean in CLEAN_UP:
                text = text.replace(written, clean)
        return text

    def piece(self, id: int) -> str:
        """Return what one id writes; special tokens write nothing."""
        return self.decode([id])

    def id_of(self, token: str) -> int | None:
        """Return the id of a token by its name, None where there is none."""
        return self._backend.token_to_id(token)

    def name_of(self, id: int) -> str:
        """Return the name of a token as the vocabulary spells it."""
        return self._backend.id_to_token(id) or ""

    def role(self, name: str) -> int | None:
        """Return the id of the token that plays a role, such as "eos_token"."""
        return self.id_of(self.roles[name]) if name in self.roles else None

    @cached_property
    def byte_ids(self) -> frozenset[int]:
        """The tokens that stand for one byte each, where several in a row are decoded as one."""
        decoder = json.dumps(json.loads(self._backend.to_str())["decoder"])
        if '"ByteFallback"' not in decoder:
            return frozenset()
        vocabulary = self._backend.get_vocab(with_added_tokens=False)
        return frozenset(id for token, id in vocabulary.items() if BYTE.fullmatch(token))

    def as_json(self) -> str:
        """Return the vocabulary and its rules as tokenizer.json has them."""
        return str(self._backend.to_str())

    def refuse_strange(self, ids: Sequence[int]) -> None:
        """Refuse ids that are none of this vocabulary.

        Raises: OptionError naming the first of them.
        """
        strange = [id for id in ids if not 0 <= id < self.vocab_size]
        if strange:
            raise OptionError(f"the id {strange[0]} is none of this vocabulary, which has {self.vocab_size} tokens")
