"""The tokenizer of a model that is asked: BERT's, from tokenizer.json or from its older vocab.txt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from auricle.errors import ConfigError, OptionError
from auricle.text.characters import read_settings
from auricle.text.chat import ChatTemplates
from auricle.text.tokenizer import read_backend
from auricle.text.writing import WritingTokenizer

ROLES = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
LONGEST_WORD = 100  # characters; what is longer is one unknown word


class QuestionTokenizer(WritingTokenizer):
    """A question to ids, with the tokens around it that the checkpoint asks for."""

    @classmethod
    def from_folder(cls, folder: Path, model_type: str) -> QuestionTokenizer:
        """Read tokenizer.json, or vocab.txt, and their companions.

        Raises: ConfigError for missing or malformed files.
        """
        settings = {**ROLES, **read_settings(folder)}
        has_file = (folder / "tokenizer.json").is_file()
        backend = read_backend(folder) if has_file else word_pieces(folder, settings)
        return cls(backend, settings, ChatTemplates.from_folder(folder, settings))

    def question(self, text: str, most: int, truncate: bool) -> list[int]:
        """Return the ids of a question, of which a model reads `most`.

        Raises: OptionError where there are more, unless the question may be cut.
        """
        ids = self.encode(text, add_special_tokens=True)
        if len(ids) <= most:
            return ids
        if not truncate:
            raise OptionError(
                f"the question has {len(ids)} tokens and the model reads {most}; shorten it, or pass truncation=True"
            )
        # What stands behind the words stays there.
        bare = self.encode(text, add_special_tokens=False)
        behind = ids[len(ids) - 1 :] if ids[-1:] != bare[-1:] else []
        return ids[: most - len(behind)] + behind


def word_pieces(folder: Path, settings: dict[str, Any]) -> Backend:
    """Build BERT's tokenizer from vocab.txt, one piece a line.

    Raises: ConfigError where it is absent or lacks a token that is needed.
    """
    path = folder / "vocab.txt"
    if not path.is_file():
        raise ConfigError(f"{folder} has neither tokenizer.json nor vocab.txt; copy one of them from the checkpoint")
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text: {error}; fetch the file again") from error
    vocabulary = {line: number for number, line in enumerate(lines)}
    begin, end, unknown = (str(settings[name]) for name in ("cls_token", "sep_token", "unk_token"))
    missing = [token for token in (begin, end, unknown) if token not in vocabulary]
    if missing:
        raise ConfigError(f"{path} lacks {', '.join(missing)}; fetch the file again")
    backend = Backend(models.WordPiece(vocabulary, unk_token=unknown, max_input_chars_per_word=LONGEST_WORD))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, vocabulary[begin]), (end, vocabulary[end])]
    )
    backend.decoder = decoders.WordPiece()
    return backend
