"""BERT whose layers also look at something else: what reads BLIP's questions and writes its answers.

Papers: BERT (arXiv 1810.04805), BLIP (arXiv 2201.12086), section 3.1.

Dimension key: B batch, S words, P words held, T places looked at, D width, H heads, K width of a head, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models.layers import Cache, activation, causal_mask


@dataclass(frozen=True)
class BlipTextConfig:
    """What config.json says of either half."""

    vocab_size: int = 30524
    hidden_size: int = 768
    encoder_hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 512
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    bos_token_id: int = 30522  # what an answer begins with
    sep_token_id: int = 102  # what ends it
    max_length: int | None = None  # of an answer, with the token that it begins with; None: 20 without it
    num_beams: int = 1

    def __post_init__(self) -> None:
        activation(self.hidden_act)
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size {self.hidden_size} must be a multiple of num_attention_heads {self.num_attention_heads}"
            )


class Embeddings(nn.Module):
    """Words as vectors, with their places."""

    def __init__(self, config: BlipTextConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, words: Tensor, start: int = 0) -> Tensor:
        places = self.position_embeddings.weight[start : start + words.shape[1]]
        return self.LayerNorm(self.word_embeddings(words) + places)  # (B, S, D)


class Looking(nn.Module):
    """What words look for, and what they find."""

    def __init__(self, config: BlipTextConfig, width: int) -> None:
        super().__init__()
        self.n_heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(width, config.hidden_size)
        self.value = nn.Linear(width, config.hidden_size)

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Of states (B, T, D): two of (B, H, T, K)."""
        return self._split(self.key(states)), self._split(self.value(states))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        found = F.scaled_dot_product_attention(self._split(self.query(x)), keys, values, mask)
        return found.transpose(1, 2).flatten(2)  # (B, S, D)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)


class Added(nn.Module):
    """A layer whose result is added to what was there, and normalised."""

    def __init__(self, before: int, config: BlipTextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(before, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + there)


class Attention(nn.Module):
    """Attention and what becomes of it."""

    def __init__(self, config: BlipTextConfig, width: int) -> None:
        super().__init__()
        self.self = Looking(config, width)
        self.output = Added(config.hidden_size, config)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        return self.output(self.self(x, keys, values, mask), x)


class Intermediate(nn.Module):
    """The wide half of a feed-forward network."""

    def __init__(self, config: BlipTextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.dense(x))


class Layer(nn.Module):
    """A look at the words, one at something else, and a feed-forward network."""

    def __init__(self, config: BlipTextConfig) -> None:
        super().__init__()
        self.attention = Attention(config, config.hidden_size)
        self.crossattention = Attention(config, config.encoder_hidden_size)
        self.intermediate = Intermediate(config)
        self.output = Added(config.intermediate_size, config)

    def forward(self, x: Tensor, cache: Cache, number: int, mask: Tensor | None) -> Tensor:
        keys, values = cache.extend(number, *self.attention.self.keys_values(x))
        x = self.attention(x, keys, values, mask)
        x = self.crossattention(x, *cache.cross[number], cache.cross_mask)
        return self.output(self.intermediate(x), x)


class Layers(nn.Module):
    """All layers."""

    def __init__(self, config: BlipTextConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))


class TextModel(nn.Module):
    """Words to states."""

    def __init__(self, config: BlipTextConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Layers(config)

    def new_cache(self, states: Tensor, mask: Tensor | None) -> Cache:
        """Begin to read, looking at states (B, T, D) where `mask` (B, 1, 1, T) allows it."""
        layers: Any = self.encoder.layer  # nn.Module types its attributes otherwise
        return Cache([layer.crossattention.self.keys_values(states) for layer in layers], mask)

    def forward(self, words: Tensor, cache: Cache, mask: Tensor | None) -> Tensor:
        """Append words (B, S), which see the words before as `mask` says: (B, S, D)."""
        x = self.embeddings(words, cache.length)
        for number, layer in enumerate(self.encoder.layer):
            x = layer(x, cache, number, mask)
        cache.advance(words.shape[1])
        return x

    def follow(self, words: Tensor, cache: Cache) -> Tensor:
        """Append words (B, S), each of which sees those before it."""
        return self(words, cache, causal_mask(words.shape[1], cache.length, words.device))


class Transform(nn.Module):
    """A layer before the words are chosen."""

    def __init__(self, config: BlipTextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = activation(config.hidden_act)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(self.activation(self.dense(x)))


class Predictions(nn.Module):
    """States to logits."""

    def __init__(self, config: BlipTextConfig) -> None:
        super().__init__()
        self.transform = Transform(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.decoder.bias = self.bias

    def forward(self, states: Tensor) -> Tensor:
        return self.decoder(self.transform(states))  # (B, S, V)


class Head(nn.Module):
    """The name that checkpoints give the predictions."""

    def __init__(self, config: BlipTextConfig) -> None:
        super().__init__()
        self.predictions = Predictions(config)


class TextDecoder(nn.Module):
    """Words, and what was seen, to the next word."""

    def __init__(self, config: BlipTextConfig) -> None:
        super().__init__()
        self.bert = TextModel(config)
        self.cls = Head(config)
        self.cls.predictions.decoder.weight = self.bert.embeddings.word_embeddings.weight
