"""The network of punctuation out of its folder, or out of the package's.

Beside `loading`, this knows models and checkpoints together: a network and the words that it knows are no checkpoint
that anybody else reads.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from auricle.checkpoints.config import build_config, read_json
from auricle.checkpoints.tensors import load_tensors, read_tensors
from auricle.errors import ConfigError
from auricle.models.punctuation import N_SPECIAL, PunctuationConfig, PunctuationTagger

CONFIG = "config.json"
WORDS = "words.txt"  # beside the weights: a word a line, by its place in the network's table
_HINT = "install the package again, or write such a folder with `python -m auricle.training punctuation`"


def load_punctuation(folder: Path | None = None) -> tuple[PunctuationTagger, list[str]]:
    """Return the network in evaluation mode and its words, of a folder or, by default, of the package.

    Raises:
        CheckpointError: it is not there, is damaged, or its files do not fit each other.
    """
    folder = folder or Path(str(files("auricle"))) / "bundled" / "punctuation"
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder} has no {CONFIG}; expected one, {WORDS} and the weights beside it; {_HINT}")
    config: PunctuationConfig = build_config(PunctuationTagger, read_json(folder, CONFIG), str(folder / CONFIG))
    try:
        words = (folder / WORDS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{folder / WORDS} cannot be read: {error}; {_HINT}") from error
    if len(words) + N_SPECIAL != config.vocab_size:
        raise ConfigError(
            f"{folder / WORDS} has {len(words)} words; expected {config.vocab_size - N_SPECIAL}, as {CONFIG} says; "
            f"{_HINT}"
        )
    tagger = PunctuationTagger(config)
    load_tensors(tagger, read_tensors(folder), where=str(folder))
    return tagger.eval(), words
