"""Which mark follows each word of a transcript, and which words are capitalised: a small recurrent tagger.

The words are read in both directions, each with how long the speaker paused after it: the restoration of punctuation as
tagging of words (Tilk and Alumäe, "Bidirectional Recurrent Neural Network with Attention Mechanism for Punctuation
Restoration", Interspeech 2016, without the attention, whose pauses this takes over).

Dimension key: B batch, T words, D width of what is known of a word, H hidden width of one direction, M marks.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from auricle.errors import ConfigError

MARKS = ("", ",", ".", "?")  # in the order of the network's scores
ENDS = (2, 3)  # of them, those that end a sentence
# Pauses in seconds that divide what the network knows of a pause; 0 is a pause that nobody measured.
PAUSES_S = (0.1, 0.2, 0.3, 0.45, 0.7, 1.1)
UNMEASURED = 0
N_PAUSES = len(PAUSES_S) + 2
PADDING, UNKNOWN, N_SPECIAL = 0, 1, 2  # places of the words' table before the first word
N_FEATURES = 4  # of each word: its own place, those of its ending and beginning, and the pause after it


@dataclass(frozen=True)
class PunctuationConfig:
    """Sizes of the network."""

    vocab_size: int  # of words, with padding and the unknown word
    word_size: int = 64
    n_affixes: int = 2048  # places for endings, and as many for beginnings
    affix_size: int = 24
    affix_length: int = 3  # letters
    pause_size: int = 16
    hidden_size: int = 128
    num_layers: int = 2
    dropout: float = 0.4  # in training

    def __post_init__(self) -> None:
        for name in ("word_size", "n_affixes", "affix_size", "affix_length", "pause_size", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if self.vocab_size <= N_SPECIAL:
            raise ConfigError(f"vocab_size is {self.vocab_size}; expected at least one word beside {N_SPECIAL} others")


class PunctuationTagger(nn.Module):
    """Scores the mark after each word, and whether it begins with a capital where it begins no sentence."""

    Config: ClassVar[type[PunctuationConfig]] = PunctuationConfig

    def __init__(self, config: PunctuationConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocab_size, config.word_size, padding_idx=PADDING)
        self.endings = nn.Embedding(config.n_affixes, config.affix_size)
        self.beginnings = nn.Embedding(config.n_affixes, config.affix_size)
        self.pauses = nn.Embedding(N_PAUSES, config.pause_size)
        self.layers = nn.GRU(
            config.word_size + 2 * config.affix_size + config.pause_size,
            config.hidden_size,
            config.num_layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.marks = nn.Linear(2 * config.hidden_size, len(MARKS))
        self.capital = nn.Linear(2 * config.hidden_size, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the marks' scores (B, T, M), and of a capital (B, T), of features (B, T, 4) as `features_of` gives."""
        word, ending, beginning, pause = features.unbind(-1)
        known = torch.cat([self.words(word), self.endings(ending), self.beginnings(beginning)], dim=-1)  # (B, T, D)
        heard = torch.cat([self.dropout(known), self.pauses(pause)], dim=-1)
        states, _ = self.layers(heard)  # (B, T, 2 H)
        states = self.dropout(states)
        return self.marks(states), self.capital(states).squeeze(-1)


def features_of(
    words: Sequence[str], pauses: Sequence[float | None], places: Mapping[str, int], config: PunctuationConfig
) -> list[tuple[int, int, int, int]]:
    """Return what the network takes of words in lower case and the seconds of pause after each, None if not known.

    `places` are those of the known words in the network's table.
    """
    length, n_affixes = config.affix_length, config.n_affixes
    return [
        (
            places.get(word, UNKNOWN),
            _place("$" + word[-length:], n_affixes),
            _place("^" + word[:length], n_affixes),
            pause_of(pause),
        )
        for word, pause in zip(words, pauses, strict=True)
    ]


def pause_of(seconds: float | None) -> int:
    """Return which of the lengths that the network tells apart a pause has; None: nobody measured it."""
    return UNMEASURED if seconds is None else UNMEASURED + 1 + bisect_right(PAUSES_S, seconds)


def _place(affix: str, n_affixes: int) -> int:
    return zlib.crc32(affix.encode()) % n_affixes
