"""Whisper: an encoder of 30 s of log-mel frames; a decoder that writes text, languages and times as tokens.

Paper: arXiv 2212.04356, section 2.2; code of its authors: openai/whisper `model.py`. Every published size is
this network: English-only and multilingual differ in `vocab_size`, large-v3 and turbo in `num_mel_bins`,
turbo and the distilled ones in `decoder_layers`.

Dimension key: B windows, M mel bins, F feature frames (3000), T encoder frames (1500), S tokens, D width,
H heads, K width of a head, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError, OptionError
from auricle.models.layers import Cache, activation, causal_mask

# Frames per radian of the slowest sinusoid, section 3.5 of arXiv 1706.03762; the fastest has one.
LONGEST_WAVE = 10_000.0

# In float16 (up to 65504) outliers of the large encoders reach infinity, and one infinity loses the window.
FLOAT16_BOUND = torch.finfo(torch.float16).max - 1000


@dataclass(frozen=True)
class WhisperConfig:
    """What config.json says of the network; defaults as the family's."""

    vocab_size: int = 51865
    num_mel_bins: int = 80
    d_model: int = 384
    encoder_layers: int = 4
    encoder_attention_heads: int = 6
    encoder_ffn_dim: int = 1536
    decoder_layers: int = 4
    decoder_attention_heads: int = 6
    decoder_ffn_dim: int = 1536
    max_source_positions: int = 1500  # encoder frames of a window
    max_target_positions: int = 448  # tokens, prompt included
    activation_function: str = "gelu"
    tie_word_embeddings: bool = True
    decoder_start_token_id: int = 50257
    bos_token_id: int | None = 50256
    eos_token_id: int | None = 50256
    pad_token_id: int | None = 50256

    def __post_init__(self) -> None:
        activation(self.activation_function)
        for part in ("encoder_attention_heads", "decoder_attention_heads"):
            if self.d_model % getattr(self, part):
                raise ConfigError(f"d_model {self.d_model} is not divisible by {part} {getattr(self, part)}")


class Attention(nn.Module):
    """Attention of several heads; only the keys have no bias."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `x` (B, T, D) offers to be attended to, twice (B, H, T, K)."""
        return self._split(self.k_proj(x)), self._split(self.v_proj(x))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from `x` (B, S, D); `mask` is True where a key is seen."""
        y = F.scaled_dot_product_attention(self._split(self.q_proj(x)), keys, values, mask)  # (B, H, S, K)
        return self.out_proj(y.transpose(1, 2).flatten(2))  # (B, S, D)

    def weights(self, x: Tensor, keys: Tensor, heads: list[int], mask: Tensor) -> Tensor:
        """How some heads divide their attention from `x` (B, S, D): (B, len(heads), S, T) float32."""
        queries, keys = self._split(self.q_proj(x))[:, heads].float(), keys[:, heads].float()
        scores = queries @ keys.transpose(2, 3) * keys.shape[-1] ** -0.5  # (B, len(heads), S, T)
        return scores.masked_fill(~mask, -math.inf).softmax(-1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)  # (B, H, T, K)


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each normalised before and added after."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        width = config.d_model
        self.self_attn = Attention(width, config.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.activation = activation(config.activation_function)

    def forward(self, x: Tensor) -> Tensor:
        y = self.self_attn_layer_norm(x)  # (B, T, D)
        x = x + self.self_attn(y, *self.self_attn.keys_values(y))
        x = x + self.fc2(self.activation(self.fc1(self.final_layer_norm(x))))
        return x.clamp(-FLOAT16_BOUND, FLOAT16_BOUND) if x.dtype == torch.float16 else x


class Encoder(nn.Module):
    """Log-mel frames to states at half their rate."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        width = config.d_model
        self.conv1 = nn.Conv1d(config.num_mel_bins, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.max_source_positions, width).requires_grad_(False)
        self.embed_positions.weight.data = sinusoids(config.max_source_positions, width)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, values: Tensor, shares: Tensor | None = None) -> Tensor:
        """Map (B, M, F) to (B, T, D); `shares` (layers + 1,) sums what the first layer takes and what each gives."""
        x = F.gelu(self.conv1(values))  # (B, D, F)
        x = F.gelu(self.conv2(x)).transpose(1, 2)  # (B, T, D)
        x = x + self.embed_positions.weight
        summed = None if shares is None else shares[0] * x
        for place, layer in enumerate(self.layers, 1):
            x = layer(x)
            if place == len(self.layers):
                x = self.layer_norm(x)
            if shares is not None and summed is not None:
                summed = summed + shares[place] * x
        return x if summed is None else summed  # (B, T, D)


class DecoderLayer(nn.Module):
    """Self-attention over the tokens so far, attention to the recording, a feed-forward network."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        width = config.d_model
        self.self_attn = Attention(width, config.decoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.encoder_attn = Attention(width, config.decoder_attention_heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.decoder_ffn_dim)
        self.fc2 = nn.Linear(config.decoder_ffn_dim, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.activation = activation(config.activation_function)

    def attend_to_text(self, x: Tensor, cache: Cache, index: int, mask: Tensor | None) -> Tensor:
        """The first third of the layer; `index` is the layer's place in the cache."""
        y = self.self_attn_layer_norm(x)  # (B, S, D)
        keys, values = cache.extend(index, *self.self_attn.keys_values(y))
        return x + self.self_attn(y, keys, values, mask)

    def attend_to_recording(self, x: Tensor, cache: Cache, index: int) -> Tensor:
        """The second third."""
        return x + self.encoder_attn(self.encoder_attn_layer_norm(x), *cache.cross[index])  # (B, S, D)

    def feed_forward(self, x: Tensor) -> Tensor:
        """The last third."""
        return x + self.fc2(self.activation(self.fc1(self.final_layer_norm(x))))  # (B, S, D)


class Decoder(nn.Module):
    """Tokens, and what was heard, to states that predict the next token."""

    layers: Any  # a ModuleList of DecoderLayer, which it does not say to a type checker

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.embed_positions = nn.Embedding(config.max_target_positions, config.d_model)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.layer_norm = nn.LayerNorm(config.d_model)

    def embed(self, tokens: Tensor, start: int) -> Tensor:
        """Tokens (B, S) that stand at positions `start` and after, (B, S, D)."""
        end, last = start + tokens.shape[1], self.embed_positions.num_embeddings
        if end > last:
            raise OptionError(
                f"{end} tokens were given to a decoder with {last} positions; "
                "shorten the prompt, or lower the number of new tokens"
            )
        return self.embed_tokens(tokens) + self.embed_positions.weight[start:end]

    def forward(self, tokens: Tensor, cache: Cache) -> Tensor:
        x = self.embed(tokens, cache.length)  # (B, S, D)
        mask = causal_mask(tokens.shape[1], cache.length, tokens.device)
        for index, layer in enumerate(self.layers):
            x = layer.attend_to_text(x, cache, index, mask)
            x = layer.attend_to_recording(x, cache, index)
            x = layer.feed_forward(x)
        cache.advance(tokens.shape[1])
        return self.layer_norm(x)  # (B, S, D)


class EncoderDecoder(nn.Module):
    """Both halves, under the name that checkpoints give them."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)


class Whisper(nn.Module):
    """The whole network; `encode` once a window, then `decode` token by token over a `Cache`."""

    kind = "seq2seq"
    Config = WhisperConfig
    RENAMES = ((r"^(encoder|decoder)\.", r"model.\1."),)  # files of the bare model lack the prefix
    IGNORED_TENSORS: tuple[str, ...] = ()
    HARMLESS = frozenset(
        {
            # Training only.
            "activation_dropout",
            "apply_spec_augment",
            "attention_dropout",
            "decoder_layerdrop",
            "dropout",
            "encoder_layerdrop",
            "init_std",
            "mask_feature_length",
            "mask_feature_min_masks",
            "mask_feature_prob",
            "mask_time_length",
            "mask_time_min_masks",
            "mask_time_prob",
            # The classification head of other models of the family.
            "classifier_proj_size",
            "use_weighted_layer_sum",
            # The alignment of words, which belongs to the decoding loop.
            "alignment_heads",
            "median_filter_width",
            # Second names of encoder_layers.
            "num_hidden_layers",
            # Written as False in every published checkpoint, and without effect in the code that trains them.
            "scale_embedding",
        }
    )

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.max_positions = config.max_target_positions
        self.model = EncoderDecoder(config)
        self.proj_out = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.proj_out.weight = self.model.decoder.embed_tokens.weight

    @classmethod
    def tiny(cls, **changes: Any) -> WhisperConfig:
        """A network for tests: two layers of 32 on windows of the true length."""
        small = WhisperConfig(
            vocab_size=120,
            d_model=32,
            encoder_layers=2,
            encoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_layers=2,
            decoder_attention_heads=4,
            decoder_ffn_dim=64,
            decoder_start_token_id=101,
            bos_token_id=100,
            eos_token_id=100,
            pad_token_id=100,
        )
        return replace(small, **changes)

    def encode(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel windows (B, M, F) with their frames of sound (B,) to states (B, T, D) and frames of sound.

        The network hears what follows the sound too, as it did in training: `lengths` is only carried along.
        """
        n_frames, expected = values.shape[2], 2 * self.config.max_source_positions
        if n_frames != expected or values.shape[1] != self.config.num_mel_bins:
            raise ConfigError(
                f"the encoder takes windows of {self.config.num_mel_bins} mel bins and {expected} frames, "
                f"and was given {values.shape[1]} and {n_frames}; feature_size, chunk_length and hop_length "
                "of preprocessor_config.json must fit num_mel_bins and max_source_positions of config.json"
            )
        return self.model.encoder(values), (lengths + 1) // 2

    def new_cache(self, states: Tensor, lengths: Tensor) -> Cache:
        """Start decoding: every layer's keys and values of the recording, and no token yet.

        `lengths` hides nothing, see `encode`; other families' caches need it.
        """
        return Cache([layer.encoder_attn.keys_values(states) for layer in self.model.decoder.layers])

    def decode(self, tokens: Tensor, cache: Cache, n_last: int = 1) -> Tensor:
        """Append tokens (B, S); float32 logits (B, n_last, V) after the last `n_last` of them.

        Raises:
            OptionError: if the tokens run past `max_positions`.
        """
        return self.logits(self.hidden_states(tokens, cache)[:, -n_last:])

    def hidden_states(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Append tokens (B, S); what the decoder makes of each (B, S, D), of which `logits` are made."""
        return self.model.decoder(tokens, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        """What follows, by hidden states (B, S, D): float32 logits (B, S, V)."""
        return self.proj_out(hidden).float()

    def forward(self, values: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        """Teacher-forced logits (B, S, V): what follows each token of `tokens` (B, S)."""
        states, lengths = self.encode(values, lengths)
        return self.decode(tokens, self.new_cache(states, lengths), tokens.shape[1])

    def cross_attention(self, tokens: Tensor, states: Tensor, lengths: Tensor, heads: list[tuple[int, int]]) -> Tensor:
        """Where some (layer, head) pairs listen as `tokens` (B, S) are read, (B, len(heads), S, T) float32.

        A row over T sums to one over the first `lengths` frames and is zero after them; give T to use all.
        Source: openai/whisper `timing.py`, `find_alignment`, which cuts to the sound before the softmax.

        Raises:
            OptionError: if the decoder has no such layer or head.
        """
        n_layers, n_heads = self.config.decoder_layers, self.config.decoder_attention_heads
        outside = [pair for pair in heads if not (0 <= pair[0] < n_layers and 0 <= pair[1] < n_heads)]
        if outside or not heads:
            raise OptionError(
                f"alignment heads {outside or heads} were asked for and the decoder has {n_layers} layers of "
                f"{n_heads} heads; give (layer, head) pairs counted from zero, as generation_config.json does"
            )
        decoder, cache = self.model.decoder, self.new_cache(states, lengths)
        heard = torch.arange(states.shape[1], device=states.device) < lengths[:, None, None, None]
        x, mask = decoder.embed(tokens, 0), causal_mask(tokens.shape[1], 0, tokens.device)  # (B, S, D)
        found: dict[tuple[int, int], Tensor] = {}
        for index in range(max(layer for layer, _ in heads) + 1):
            layer = decoder.layers[index]
            x = layer.attend_to_text(x, cache, index, mask)
            chosen = [head for at, head in heads if at == index]
            if chosen:
                y = layer.encoder_attn_layer_norm(x)
                weights = layer.encoder_attn.weights(y, cache.cross[index][0], chosen, heard)
                found.update({(index, head): weights[:, i] for i, head in enumerate(chosen)})
            x = layer.feed_forward(layer.attend_to_recording(x, cache, index))
        return torch.stack([found[pair] for pair in heads], 1)


def sinusoids(length: int, width: int) -> Tensor:
    """Positions as sines (first half of the width) and cosines, their periods growing to `LONGEST_WAVE`."""
    n_waves = width // 2
    rates = torch.exp(torch.arange(n_waves) * (-math.log(LONGEST_WAVE) / max(n_waves - 1, 1)))
    angles = torch.arange(length)[:, None] * rates  # (length, width / 2)
    return torch.cat([angles.sin(), angles.cos()], 1)
